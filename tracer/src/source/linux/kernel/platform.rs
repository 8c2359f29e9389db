//! What this machine lets us do: refusals with a remedy before anything is tried, and whatever
//! will be inexact here.

use crate::event::Degradation;
use crate::source::SourceError;
use crate::source::linux::kernel::cgroup_root::CgroupRoot;
use crate::source::linux::kernel::features;
use crate::source::linux::kernel::namespace::initial;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

/// The oldest kernel with everything that the probes need (`cgroup/sock_release` is of 5.9, and
/// 5.10 is the first long-term release with it).
const KERNEL_MIN: (u32, u32) = (5, 10);

const CAP_NET_ADMIN: Capability = Capability { bit: 12, name: "CAP_NET_ADMIN" };
const CAP_SYS_PTRACE: Capability = Capability { bit: 19, name: "CAP_SYS_PTRACE" };
const CAP_SYS_ADMIN: Capability = Capability { bit: 21, name: "CAP_SYS_ADMIN" };
const CAP_PERFMON: Capability = Capability { bit: 38, name: "CAP_PERFMON" };
const CAP_BPF: Capability = Capability { bit: 39, name: "CAP_BPF" };

/// A machine that can be traced.
#[derive(Debug)]
pub struct Platform {
    /// The kernel's release, as `uname -r` shows it.
    pub kernel: String,
    /// The directory of the cgroup2 hierarchy's root, or of the topmost cgroup in view.
    pub cgroup: OwnedFd,
    /// What will be inexact or missing here.
    pub degraded: Vec<Degradation>,
}

/// Finds out whether this machine can be traced by us, and how well.
///
/// # Errors
/// When it cannot: the first obstacle and its remedy.
pub fn check() -> Result<Platform, SourceError> {
    let kernel = read("/proc/sys/kernel/osrelease")?.trim_end().to_owned();
    check_kernel(&kernel)?;
    let privileges = Privileges::parse(&read("/proc/self/status")?);
    privileges.check()?;
    check_user_namespace()?;
    check_btf()?;
    // Absent where the kernel has no lockdown, or securityfs is not mounted.
    check_lockdown(&fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default())?;
    let cgroup = CgroupRoot::topmost().map_err(no_cgroup)?;

    let mut degraded = privileges.degradations();
    if !cgroup.is_root {
        degraded.push(partial_cgroup());
    }
    if !shows_all_processes() {
        degraded.push(foreign_pids());
    }
    Ok(Platform { kernel, cgroup: cgroup.directory, degraded })
}

/// The kernel's release, and what a look without probes cannot see here.
///
/// # Errors
/// When /proc cannot be read.
pub fn sight() -> Result<(String, Vec<Degradation>), SourceError> {
    let kernel = read("/proc/sys/kernel/osrelease")?.trim_end().to_owned();
    let privileges = Privileges::parse(&read("/proc/self/status")?);
    let mut degraded = privileges.blind_spots(!features::lists_bound_sockets());
    if !is_namespace("pid", initial::PID) {
        degraded.push(other_pids());
    }
    Ok((kernel, degraded))
}

fn read(path: &str) -> Result<String, SourceError> {
    fs::read_to_string(path)
        .map_err(|error| refusal(format!("{path} cannot be read: {error}"), "mount /proc"))
}

fn refusal(what: impl Into<String>, remedy: &str) -> SourceError {
    SourceError { what: what.into(), remedy: remedy.to_owned() }
}

fn degradation(feature: &str, why: impl Into<String>, remedy: &str) -> Degradation {
    Degradation { feature: feature.to_owned(), why: why.into(), remedy: remedy.to_owned() }
}

fn check_kernel(release: &str) -> Result<(), SourceError> {
    match parse_release(release) {
        Some(version) if version < KERNEL_MIN => {
            Err(refusal(format!("Linux {release} is too old"), "use Linux 5.10 or newer"))
        }
        // A release that nobody can read is not a reason to refuse.
        _ => Ok(()),
    }
}

/// The first two numbers of a kernel release such as `6.1.0-18-amd64` or `6.1-rc3`.
#[must_use]
pub fn parse_release(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// A capability's number and name (include/uapi/linux/capability.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Capability {
    bit: u32,
    name: &'static str,
}

/// What we are and may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Privileges {
    /// Whether the effective user is root, by whose files /proc decides what we see.
    is_root: bool,
    /// The effective capabilities, one bit each.
    capabilities: u64,
}

impl Privileges {
    /// Reads `/proc/self/status`; what is not there is not granted.
    fn parse(status: &str) -> Self {
        let value = |key| status.lines().find_map(|line: &str| line.strip_prefix(key));
        let effective_uid = value("Uid:").and_then(|ids| ids.split_ascii_whitespace().nth(1));
        let capabilities = value("CapEff:").and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
        Self { is_root: effective_uid == Some("0"), capabilities: capabilities.unwrap_or_default() }
    }

    fn has(self, capability: Capability) -> bool {
        self.capabilities >> capability.bit & 1 == 1
    }

    fn check(self) -> Result<(), SourceError> {
        if !self.is_root {
            return Err(refusal("tracing the ports of all processes needs root", "run it with sudo"));
        }
        // CAP_SYS_ADMIN includes these two (`bpf_capable`, `perfmon_capable`) but not the third.
        let bpf = [CAP_BPF, CAP_PERFMON].into_iter().filter(|_| !self.has(CAP_SYS_ADMIN));
        let missing: Vec<_> = bpf
            .chain([CAP_NET_ADMIN])
            .filter(|capability| !self.has(*capability))
            .map(|capability| capability.name)
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(refusal(
            format!("loading eBPF programs needs {}", missing.join(", ")),
            "grant them to the container or service (docker: --privileged)",
        ))
    }

    /// What a look at /proc and at lists of sockets leaves out.
    fn blind_spots(self, bound_only_unlisted: bool) -> Vec<Degradation> {
        let mut spots = Vec::new();
        let mut spot = |feature, why| spots.push(degradation(feature, why, "run it with sudo"));
        if !self.is_root || !self.has(CAP_SYS_PTRACE) {
            spot("owners of other users' ports", "only root can read /proc/PID/fd of other users' processes");
            if bound_only_unlisted {
                let feature = "other users' TCP ports that are bound and not connected";
                spot(feature, "before Linux 6.8 they are found only through their descriptors");
            }
        }
        if !self.is_root || !self.has(CAP_SYS_ADMIN) {
            spot("ports in other network namespaces", "entering one needs CAP_SYS_ADMIN");
        }
        spots
    }

    fn degradations(self) -> Vec<Degradation> {
        let remedy = "grant it to the container or service (docker: --privileged)";
        let effects = [
            (CAP_SYS_ADMIN, "ports held at the start in other network namespaces"),
            (CAP_SYS_PTRACE, "owners of ports held at the start"),
        ];
        effects
            .into_iter()
            .filter(|(capability, _)| !self.has(*capability))
            .map(|(missing, feature)| degradation(feature, format!("{} is missing", missing.name), remedy))
            .collect()
    }
}

/// Capabilities in a user namespace are none towards the machine.
fn check_user_namespace() -> Result<(), SourceError> {
    if is_namespace("user", initial::USER) {
        return Ok(());
    }
    Err(refusal(
        "portleak is root in a user namespace, not on the host",
        "run it outside the rootless container, or without user-namespace remapping",
    ))
}

/// Whether /proc shows every process under the pid that the kernel knows it by.
#[must_use]
pub fn shows_all_processes() -> bool {
    is_namespace("pid", initial::PID)
}

/// Whether our namespace of that kind is the given one; assumed if /proc does not say.
fn is_namespace(kind: &str, expected: &str) -> bool {
    let link = fs::read_link(format!("/proc/self/ns/{kind}"));
    link.map_or(true, |link| link.as_os_str() == expected)
}

fn check_btf() -> Result<(), SourceError> {
    if Path::new("/sys/kernel/btf/vmlinux").exists() {
        return Ok(());
    }
    Err(refusal(
        "this kernel has no type information: /sys/kernel/btf/vmlinux is missing",
        "use a kernel built with CONFIG_DEBUG_INFO_BTF=y, and mount /sys in a container",
    ))
}

/// Under `confidentiality` eBPF may not read kernel memory (`LOCKDOWN_BPF_READ_KERNEL`).
fn check_lockdown(content: &str) -> Result<(), SourceError> {
    if !content.contains("[confidentiality]") {
        return Ok(());
    }
    Err(refusal(
        "kernel lockdown=confidentiality forbids eBPF to read kernel memory",
        "boot with lockdown=integrity or lockdown=none",
    ))
}

fn no_cgroup(error: io::Error) -> SourceError {
    refusal(
        format!("cgroup2 is not mounted and cannot be: {error}"),
        "mount it: mount -t cgroup2 none /sys/fs/cgroup/unified",
    )
}

fn partial_cgroup() -> Degradation {
    degradation(
        "processes outside this container",
        "only a part of the cgroup hierarchy is visible, and socket hooks cover only that part",
        "use the host's namespaces (docker: --cgroupns=host --pid=host)",
    )
}

fn foreign_pids() -> Degradation {
    degradation(
        "names of processes",
        "portleak runs in a pid namespace, where pids differ from the kernel's",
        "use the host's (docker: --pid=host)",
    )
}

fn other_pids() -> Degradation {
    degradation(
        "ports of other containers and of the machine",
        "portleak runs in a pid namespace, whose /proc shows only its own processes",
        "use the host's (docker: --pid=host)",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases() {
        for (release, version) in [
            ("6.18.44-generic", Some((6, 18))),
            ("5.10.0-32-amd64", Some((5, 10))),
            ("6.1-rc3", Some((6, 1))),
            ("7.2", Some((7, 2))),
            ("6", None),
            ("", None),
            ("next-20260101", None),
        ] {
            assert_eq!(parse_release(release), version, "{release}");
        }
    }

    #[test]
    fn kernels_before_5_10_are_refused() {
        for (release, refused) in
            [("4.18.0-553.el8", true), ("5.9.16", true), ("5.10.1", false), ("10.0.1", false), ("?", false)]
        {
            assert_eq!(check_kernel(release).is_err(), refused, "{release}");
        }
    }

    fn privileges(euid: u32, capabilities: &[Capability]) -> Privileges {
        let bits: u64 = capabilities.iter().map(|capability| 1 << capability.bit).sum();
        Privileges::parse(&format!("Name:\tx\nUid:\t1000\t{euid}\t0\t0\nCapEff:\t{bits:016x}\n"))
    }

    fn refused(privileges: Privileges) -> String {
        privileges.check().err().map_or_else(String::new, |error| error.what)
    }

    #[test]
    fn the_effective_user_must_be_root() {
        let all = [CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN];
        assert!(refused(privileges(1000, &all)).contains("root"));
        assert_eq!(refused(privileges(0, &all)), "");
        assert!(refused(Privileges::parse("")).contains("root"));
    }

    #[test]
    fn missing_capabilities_are_named() {
        assert!(refused(privileges(0, &[])).ends_with("CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN"));
        assert!(refused(privileges(0, &[CAP_SYS_ADMIN])).ends_with("needs CAP_NET_ADMIN"));
        assert_eq!(refused(privileges(0, &[CAP_SYS_ADMIN, CAP_NET_ADMIN])), "");
    }

    #[test]
    fn capabilities_that_only_a_part_needs_degrade_it() {
        let whys = |capabilities: &[Capability]| -> Vec<String> {
            privileges(0, capabilities).degradations().into_iter().map(|one| one.why).collect()
        };
        assert_eq!(whys(&[CAP_SYS_PTRACE]), ["CAP_SYS_ADMIN is missing"]);
        assert_eq!(whys(&[CAP_SYS_ADMIN, CAP_SYS_PTRACE]), [""; 0]);
    }

    #[test]
    fn a_look_without_probes_says_what_it_cannot_see() {
        let features = |privileges: Privileges| -> Vec<String> {
            privileges.blind_spots(false).into_iter().map(|one| one.feature).collect()
        };
        assert_eq!(features(privileges(0, &[CAP_SYS_ADMIN, CAP_SYS_PTRACE])), [""; 0]);
        assert_eq!(features(privileges(0, &[CAP_SYS_PTRACE])), ["ports in other network namespaces"]);
        assert_eq!(features(privileges(1000, &[])).len(), 2);
        assert_eq!(privileges(1000, &[]).blind_spots(true).len(), 3);
        assert_eq!(privileges(0, &[CAP_SYS_ADMIN, CAP_SYS_PTRACE]).blind_spots(true), []);
    }

    #[test]
    fn only_the_strictest_lockdown_is_an_obstacle() {
        for (content, refused) in [
            ("none integrity [confidentiality]\n", true),
            ("none [integrity] confidentiality\n", false),
            ("[none] integrity confidentiality\n", false),
            ("", false),
        ] {
            assert_eq!(check_lockdown(content).is_err(), refused, "{content}");
        }
    }

    #[test]
    fn this_machine_is_accepted_or_told_why_not() {
        match check() {
            Ok(platform) => assert!(parse_release(&platform.kernel).is_some()),
            Err(error) => assert!(!error.what.is_empty() && !error.remedy.is_empty()),
        }
    }
}
