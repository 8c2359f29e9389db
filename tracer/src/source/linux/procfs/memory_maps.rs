//! Which file lies where in a process: addresses into places that outlive it.

use crate::event::{Frame, ProcessId};
use crate::source::linux::procfs::processes;
use std::fs;
use std::sync::Arc;

/// The executable mappings of a process, by ascending address.
#[derive(Clone, Debug, Default)]
pub struct MemoryMaps(Vec<Mapping>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Mapping {
    start: u64,
    end: u64,
    offset: u64,
    /// Empty for memory without a file: code compiled while running.
    path: Arc<str>,
}

impl MemoryMaps {
    /// Those of a live process; none if it has ended.
    #[must_use]
    pub fn of(process: ProcessId) -> Self {
        let pid = process.pid;
        let text = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
        let root = if same_files(pid) { String::new() } else { format!("/proc/{pid}/root") };
        let maps = Self::parse(&text, &root);
        if processes::id(pid) == Some(process) { maps } else { Self::default() }
    }

    /// Parses `/proc/PID/maps`; `root` leads to the files as the process sees them.
    fn parse(text: &str, root: &str) -> Self {
        Self(text.lines().filter_map(|line| mapping(line, root)).collect())
    }

    /// Where a return address leads back to; `None` if nothing executable lies there.
    #[must_use]
    pub fn frame(&self, return_address: u64) -> Option<Frame> {
        // The call is before it, maybe the last instruction of its line or function.
        let address = return_address.saturating_sub(1);
        let after = self.0.partition_point(|mapping| mapping.start <= address);
        let mapping = self.0.get(after.checked_sub(1)?).filter(|mapping| address < mapping.end)?;
        if mapping.path.is_empty() {
            return Some(Frame::Address(address));
        }
        if !mapping.path.starts_with('/') {
            return Some(Frame::Named { name: Arc::clone(&mapping.path), module: None });
        }
        let offset = address - mapping.start + mapping.offset;
        Some(Frame::File { path: Arc::clone(&mapping.path), offset })
    }
}

/// What the return addresses of a stack mean; none of what is no code of the process, nor if it has
/// ended.
#[must_use]
pub fn frames(process: ProcessId, addresses: &[u64]) -> Vec<Frame> {
    let maps = MemoryMaps::of(process);
    // The kernel follows frame pointers: where code has none, what it finds is no code.
    let mapped = addresses.iter().map_while(|address| maps.frame(*address));
    let named = mapped.map(|frame| match frame {
        Frame::Address(address) => compiled(process, address).unwrap_or(frame),
        known => known,
    });
    named.collect()
}

/// `start-end perms offset device inode path` (`show_map_vma`, fs/proc/task_mmu.c).
fn mapping(line: &str, root: &str) -> Option<Mapping> {
    let mut fields = line.splitn(6, ' ');
    let (start, end) = fields.next()?.split_once('-')?;
    if fields.next()?.as_bytes().get(2) != Some(&b'x') {
        return None;
    }
    let offset = fields.next()?;
    let path = fields.nth(2).unwrap_or_default().trim_start();
    let path = path.strip_suffix(" (deleted)").unwrap_or(path);
    let anonymous = path.starts_with("//") || path.starts_with("/memfd:") || path.starts_with("[anon");
    let number = |hex| u64::from_str_radix(hex, 16).ok();
    Some(Mapping {
        start: number(start)?,
        end: number(end)?,
        offset: number(offset)?,
        path: match path {
            _ if anonymous => "".into(),
            file if file.starts_with('/') => format!("{root}{file}").into(),
            special => special.into(),
        },
    })
}

/// Whether a process sees the same files as we do.
fn same_files(pid: u32) -> bool {
    let namespace = |who: &str| fs::read_link(format!("/proc/{who}/ns/mnt")).ok();
    namespace(&pid.to_string()) == namespace("self")
}

/// The name that a run-time compiler left for an address in `/tmp/perf-PID.map`.
fn compiled(process: ProcessId, address: u64) -> Option<Frame> {
    let pid = process.pid;
    let text = fs::read_to_string(format!("/proc/{pid}/root/tmp/perf-{pid}.map")).ok()?;
    perf_name(&text, address).map(|name| Frame::Named { name: name.into(), module: None })
}

/// The last entry counts: code may have been moved.
fn perf_name(text: &str, address: u64) -> Option<&str> {
    text.lines().rev().find_map(|line| {
        let mut fields = line.splitn(3, ' ');
        let start = u64::from_str_radix(fields.next()?.trim_start_matches("0x"), 16).ok()?;
        let size = u64::from_str_radix(fields.next()?.trim_start_matches("0x"), 16).ok()?;
        let name = fields.next()?;
        (start <= address && address - start < size).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
55d000000000-55d000001000 r--p 00000000 fe:00 12 /usr/bin/my program
55d000001000-55d000002000 r-xp 00001000 fe:00 12 /usr/bin/my program
7f0000000000-7f0000001000 rwxp 00000000 00:00 0 
7f0000002000-7f0000003000 r-xp 00028000 fe:00 13                         /lib/libc.so.6 (deleted)
7fff00000000-7fff00001000 r-xp 00000000 00:00 0                          [vdso]
";

    #[test]
    fn an_address_is_a_place_in_a_file() {
        let maps = MemoryMaps::parse(MAPS, "/proc/7/root");
        let file = |path: &str, offset| Some(Frame::File { path: path.into(), offset });
        assert_eq!(maps.frame(0x55d0_0000_1011), file("/proc/7/root/usr/bin/my program", 0x1010));
        assert_eq!(maps.frame(0x7f00_0000_2001), file("/proc/7/root/lib/libc.so.6", 0x28000));
        assert_eq!(maps.frame(0x7f00_0000_0011), Some(Frame::Address(0x7f00_0000_0010)));
        let vdso = Frame::Named { name: "[vdso]".into(), module: None };
        assert_eq!(maps.frame(0x7fff_0000_0011), Some(vdso));
        for outside in [0, 1, 0x55d0_0000_0800, 0x55d0_0000_2001, u64::MAX] {
            assert_eq!(maps.frame(outside), None, "{outside:x}");
        }
    }

    #[test]
    fn compiled_code_has_the_name_it_was_given_last() {
        let map = "1000 10 old name\n1000 20 py::fetch:/app/leak.py\n2000 10 other\n";
        assert_eq!(perf_name(map, 0x101f), Some("py::fetch:/app/leak.py"));
        assert_eq!(perf_name(map, 0x1020), None);
    }

    #[test]
    fn this_process_finds_itself() {
        let (process, _) = processes::facts(std::process::id()).unwrap();
        let here: fn() = this_process_finds_itself;
        let Some(Frame::File { path, .. }) = MemoryMaps::of(process).frame(here as usize as u64 + 1) else {
            panic!("no file")
        };
        assert_eq!(*path, *std::env::current_exe().unwrap().to_string_lossy());
    }
}
