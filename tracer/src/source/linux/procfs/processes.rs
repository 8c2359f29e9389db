//! Names and other facts of processes.

use crate::event::{NetNs, ProcessFacts, ProcessId};
use crate::source::linux::procfs::cgroup_path::CgroupPath;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

/// Command lines are cut after so many bytes; some run to megabytes.
const CMDLINE_BYTES_MAX: u64 = 4096;

/// The ids of all processes, ascending.
#[must_use]
pub fn pids() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let mut pids: Vec<u32> =
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    pids.sort_unstable();
    pids
}

/// Whether there is such a process now.
#[must_use]
pub fn process_exists(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

/// What is known of all processes, by ascending pid.
#[must_use]
pub fn all() -> Vec<(ProcessId, ProcessFacts)> {
    pids().into_iter().filter_map(facts).collect()
}

/// What is known of a process; `None` if there is none with that pid. It may hang for as long as the
/// process likes: see [`command_line`].
#[must_use]
pub fn facts(pid: u32) -> Option<(ProcessId, ProcessFacts)> {
    let (id, facts) = facts_without_command_line(pid)?;
    Some((id, ProcessFacts { cmdline: command_line(pid), ..facts }))
}

/// The same without the command line: all of it is the kernel's own memory and read at once.
#[must_use]
pub fn facts_without_command_line(pid: u32) -> Option<(ProcessId, ProcessFacts)> {
    let stat = read_stat(pid)?;
    let id = ProcessId { pid, started_ticks: stat.started_ticks };
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let facts = ProcessFacts {
        comm: stat.comm.into(),
        exe: link(pid, "exe").map(Arc::from),
        uid: parse_uid(&status),
        ppid: (stat.ppid != 0).then_some(stat.ppid),
        netns: link(pid, "ns/net").and_then(|link| parse_netns(&link)),
        ..ProcessFacts::default()
    };
    Some((id, placed(facts, cgroup_path(pid))))
}

/// Adds to what the probes report of a process what only /proc knows, while it lives.
#[must_use]
pub fn complete(process: ProcessId, facts: ProcessFacts) -> ProcessFacts {
    let (exe, path) = (link(process.pid, "exe"), cgroup_path(process.pid));
    if id(process.pid) != Some(process) {
        return facts; // It has ended, and the pid may be another's.
    }
    placed(ProcessFacts { exe: exe.map(Arc::from), ..facts }, path)
}

fn placed(facts: ProcessFacts, CgroupPath { cgroup, container, service }: CgroupPath) -> ProcessFacts {
    ProcessFacts { cgroup, container, service, ..facts }
}

fn cgroup_path(pid: u32) -> CgroupPath {
    fs::read_to_string(format!("/proc/{pid}/cgroup"))
        .map_or_else(|_| CgroupPath::default(), |text| CgroupPath::parse(&text))
}

/// The process that has that pid now; `None` if there is none.
#[must_use]
pub fn id(pid: u32) -> Option<ProcessId> {
    read_stat(pid).map(|stat| ProcessId { pid, started_ticks: stat.started_ticks })
}

fn read_stat(pid: u32) -> Option<Stat> {
    parse_stat(&fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// A process's command line, which lies in its own memory: reading it takes the memory's lock and
/// may fault (`get_mm_cmdline`, fs/proc/base.c), and hangs if the process arranges for that.
#[must_use]
pub fn command_line(pid: u32) -> Option<Arc<str>> {
    let file = File::open(format!("/proc/{pid}/cmdline")).ok()?;
    let mut bytes = Vec::new();
    file.take(CMDLINE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    join_arguments(&bytes).map(Arc::from)
}

/// A link below `/proc/PID`; kernel threads have no `exe`, others hide theirs.
fn link(pid: u32, name: &str) -> Option<String> {
    let target = fs::read_link(format!("/proc/{pid}/{name}")).ok()?;
    Some(target.to_string_lossy().into_owned())
}

/// What `/proc/PID/stat` says that matters here.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    comm: String,
    ppid: u32,
    /// Clock ticks (1/100 s) since boot.
    started_ticks: u64,
}

/// Parses `/proc/PID/stat` (`do_task_stat`, fs/proc/array.c). The command name may itself hold
/// spaces and parentheses, so it ends at the last one.
fn parse_stat(bytes: &[u8]) -> Option<Stat> {
    let open = bytes.iter().position(|&byte| byte == b'(')?;
    let close = bytes.iter().rposition(|&byte| byte == b')')?;
    let comm = String::from_utf8_lossy(bytes.get(open + 1..close)?).into_owned();
    // Field 3, the state, is the first after the name: ppid is field 4, the start time field 22.
    let mut fields = str::from_utf8(bytes.get(close + 1..)?).ok()?.split_ascii_whitespace();
    let ppid = fields.nth(1)?.parse().ok()?;
    let started_ticks = fields.nth(17)?.parse().ok()?;
    Some(Stat { comm, ppid, started_ticks })
}

/// The real user id in `/proc/PID/status`.
fn parse_uid(status: &str) -> Option<u32> {
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    ids.split_ascii_whitespace().next()?.parse().ok()
}

/// The inode number in `net:[N]`.
fn parse_netns(link: &str) -> Option<NetNs> {
    let number = link.strip_prefix("net:[")?.strip_suffix(']')?;
    number.parse().ok().map(NetNs)
}

/// Arguments separated by NULs, as one line; `None` if there are none (kernel threads).
fn join_arguments(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes).replace('\0', " ");
    let text = text.trim_end();
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(comm: &str) -> String {
        format!(
            "42 ({comm}) S 7 42 42 0 -1 4194560 1 0 0 0 1 2 0 0 20 0 1 0 987654 1000 20 \
             18446744073709551615 1 1\n"
        )
    }

    #[test]
    fn a_command_name_may_hold_spaces_and_parentheses() {
        for comm in ["sshd", "Web Content", "a) S (b", "(sd-pam)", ")", ""] {
            let expected = Stat { comm: comm.to_owned(), ppid: 7, started_ticks: 987_654 };
            assert_eq!(parse_stat(stat(comm).as_bytes()), Some(expected), "{comm}");
        }
    }

    #[test]
    fn a_command_name_that_is_not_utf8_is_still_shown() {
        let bytes = [b"1 (a\xff) S 0".as_slice(), &b" 5".repeat(20)].concat();
        assert_eq!(parse_stat(&bytes).unwrap().comm, "a\u{fffd}");
    }

    #[test]
    fn a_stat_cut_short_is_none() {
        for odd in ["", "42 (sh", "42 (sh)", ")(", "42 (sh) S 7 1 2 3"] {
            assert_eq!(parse_stat(odd.as_bytes()), None, "{odd}");
        }
    }

    #[test]
    fn the_real_user_id_is_the_first() {
        assert_eq!(parse_uid("Name:\tsh\nUid:\t1000\t0\t0\t0\nGid:\t5\t5\t5\t5\n"), Some(1000));
        assert_eq!(parse_uid("Name:\tsh\n"), None);
        assert_eq!(parse_uid("Uid:\n"), None);
    }

    #[test]
    fn links_to_namespaces() {
        assert_eq!(parse_netns("net:[4026531840]"), Some(NetNs(4_026_531_840)));
        for odd in ["", "net:[", "net:[x]", "mnt:[1]"] {
            assert_eq!(parse_netns(odd), None, "{odd}");
        }
    }

    #[test]
    fn arguments_become_one_line() {
        assert_eq!(join_arguments(b"curl\0-s\0http://x/\0").as_deref(), Some("curl -s http://x/"));
        assert_eq!(join_arguments(b"nginx: worker\0\0\0").as_deref(), Some("nginx: worker"));
        assert_eq!(join_arguments(b""), None);
        assert_eq!(join_arguments(b"\0"), None);
    }

    #[test]
    fn the_facts_about_ourselves() {
        let pid = std::process::id();
        let (id, facts) = facts(pid).unwrap();
        assert_eq!(id.pid, pid);
        assert!(id.started_ticks > 0);
        let exe = std::env::current_exe().unwrap();
        assert_eq!(facts.exe.as_deref(), exe.to_str());
        assert!(exe.to_str().unwrap().contains(&*facts.comm));
        assert!(facts.cmdline.is_some() && facts.netns.is_some() && facts.cgroup.is_some());
        let bare = ProcessFacts { exe: None, cgroup: None, ..facts.clone() };
        assert_eq!(complete(id, bare.clone()), facts);
        let earlier = ProcessId { started_ticks: id.started_ticks - 1, ..id };
        assert_eq!(complete(earlier, bare.clone()), bare, "another process had the pid");
        // SAFETY: neither takes a pointer nor fails.
        assert_eq!(facts.uid, Some(rustix::process::getuid().as_raw()));
        assert_eq!(facts.ppid, Some(std::os::unix::process::parent_id()));
        assert!(all().contains(&(id, facts)));
    }

    #[test]
    fn no_such_process() {
        assert_eq!(facts(u32::MAX), None);
    }
}
