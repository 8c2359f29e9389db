//! Loading and attaching the probes. What the kernel refuses is a hook that is off, with its reason.

use crate::event::{Degradation, Hook};
use crate::source::linux::bpf::function_probes::{
    self, TCP_GET_PORT, UDP_DISCONNECT, UDP_GET_PORT, UDP_UNHASH,
};
use crate::source::linux::bpf::layout::KernelLayout;
use crate::source::linux::bpf::refusal::explain;
use crate::source::linux::bpf::socket_files::SocketFiles;
use crate::source::linux::kernel::features::Features;
use crate::source::linux::procfs::descriptors::Descriptors;
use crate::source::{CaptureOptions, SourceError, Stacks};
use aya::programs::tp_btf::BtfTracePointLink;
use aya::programs::{CgroupAttachMode, Program, ProgramError};
use aya::{Btf, Ebpf, EbpfLoader, VerifierLogLevel};
use portleak_ebpf::stacks;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::fs::MetadataExt;

/// One probe: its name (also the hook's) and what is not seen without it.
struct Probe {
    name: &'static str,
    gives: &'static str,
    /// Nothing can be said of any leak without it.
    core: bool,
}

const fn core(name: &'static str, gives: &'static str) -> Probe {
    Probe { name, gives, core: true }
}

const fn extra(name: &'static str, gives: &'static str) -> Probe {
    Probe { name, gives, core: false }
}

/// In the order of attaching: what ends a hold before what begins one, so that none is missed.
const PROBES: [Probe; 20] = [
    core("sock_create", "cookies of new sockets"),
    core("tcp_destroy_sock", "the end of TCP sockets"),
    core("inet_sock_set_state", "ports of TCP connect and listen, states, early releases"),
    core("inet_sock_set_state_nested", "changes of state in a softirq during another's"),
    core("sock_release", "the end of UDP sockets"),
    extra("timer_start", "the begin of TIME_WAIT"),
    extra("timer_cancel", "the end of TIME_WAIT"),
    extra("sched_process_fork", "descendants of the traced command"),
    extra("sched_process_exec", "new names of running processes"),
    extra("sched_process_exit", "the end of processes"),
    core("post_bind4", "bound IPv4 ports"),
    core("post_bind6", "bound IPv6 ports"),
    extra("bind4", "failures of bind(0) over IPv4 because no port is free"),
    extra("bind6", "failures of bind(0) over IPv6 because no port is free"),
    extra("connect4", "ports of UDP connect over IPv4"),
    extra("connect6", "ports of UDP connect over IPv6"),
    extra("sendmsg4", "ports of UDP sendto over IPv4"),
    extra("sendmsg6", "ports of UDP sendto over IPv6"),
    extra(SOCKET_FILES, "who holds which socket, without reading all of /proc"),
    extra(SENDS, "failures of UDP sendto because no port is free"),
];

/// The attached probes. Dropping them detaches them.
pub struct Probes {
    /// The loaded object with its maps.
    pub ebpf: Ebpf,
    /// Every probe, on or off.
    pub hooks: Vec<Hook>,
    stacks: Stacks,
    features: Features,
    /// The hook after every send, while it is attached.
    sends: Option<BtfTracePointLink>,
}

/// Lists the open files of every process.
const SOCKET_FILES: &str = "socket_files";
/// The hook that is attached only while it is needed, for every send has to pay for it.
pub const SENDS: &str = "sock_send_length";

impl Probes {
    /// Loads the object for this kernel and attaches what it permits to the cgroup2 root `cgroup`.
    ///
    /// # Errors
    /// When the object cannot be loaded, or a probe that nothing works without is refused.
    pub fn attach(
        layout: &KernelLayout,
        btf: &Btf,
        cgroup: impl AsFd,
        options: &CaptureOptions,
    ) -> Result<Self, SourceError> {
        let mut ebpf = load(layout, btf, options)?;
        // First, for they are tested with sockets of our own, which are nobody else's business.
        let mut hooks = function_probes::attach(&mut ebpf, btf);
        for probe in PROBES {
            if !is_needed(&probe, &hooks, &layout.features) {
                continue;
            }
            let attached = unfit(&probe, &hooks, layout).map_or_else(
                || attach(&mut ebpf, probe.name, btf, &cgroup).map_err(|error| explain(&error)),
                |why| Err(why.to_owned()),
            );
            let off_because = attached.err();
            if let (true, Some(why)) = (probe.core, &off_because) {
                return Err(SourceError {
                    what: format!("the kernel refused the probe {} ({}): {why}", probe.name, probe.gives),
                    remedy: "run as root with CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN on a kernel from 5.10 on; see `portleak doctor`".to_owned(),
                });
            }
            hooks.push(Hook { name: probe.name.to_owned(), off_because });
        }
        Ok(Self { ebpf, hooks, stacks: options.stacks, features: layout.features, sends: None })
    }

    /// Attaches the hook after every send, or detaches it. Says whether it is attached.
    pub fn watch_sends(&mut self, on: bool) -> bool {
        self.sends = None;
        if on && let Some(Program::BtfTracePoint(program)) = self.ebpf.program_mut(SENDS) {
            let attached = program.attach().and_then(|link| program.take_link(link));
            self.sends = attached.inspect_err(|error| log::debug!("{SENDS}: {}", explain(error))).ok();
        }
        self.sends.is_some()
    }

    /// How often the kernel skipped a probe because it was already running on that CPU. Changes of
    /// TCP state have two probes, of which one is always idle.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        let single = self.ebpf.programs().filter(|(name, _)| !name.starts_with("inet_sock_set_state"));
        let tracing = single.filter_map(|(_, program)| match program {
            Program::BtfTracePoint(program) => program.fd().ok(),
            Program::FEntry(program) => program.fd().ok(),
            Program::FExit(program) => program.fd().ok(),
            _ => None,
        });
        tracing.map(|fd| recursion_misses(fd.as_fd().as_raw_fd())).sum()
    }

    /// The kernel's own list of who holds which socket, where it gives one.
    #[must_use]
    pub fn descriptors(&self) -> Descriptors {
        let listing = match self.ebpf.program(SOCKET_FILES) {
            Some(Program::Iter(program)) => program.fd().ok().and_then(|fd| SocketFiles::of(fd.as_fd()).ok()),
            _ => None,
        };
        listing.map_or(Descriptors::Proc, Descriptors::Listed)
    }

    /// Whether a hook is attached, or can be at once.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        is_on(&self.hooks, name)
    }

    /// Whether function probes show which binds find no port.
    #[must_use]
    pub fn shows_binds(&self) -> bool {
        shows_binds(&self.hooks)
    }

    /// What is not seen for want of a hook. Without the list of open files /proc is read, which shows
    /// the same.
    #[must_use]
    pub fn degraded(&self) -> Vec<Degradation> {
        let mut degraded: Vec<_> = PROBES
            .iter()
            .filter(|probe| probe.name != SOCKET_FILES)
            .filter_map(|probe| {
                let why = self.hooks.iter().find(|hook| hook.name == probe.name)?.off_because.as_ref()?;
                Some(Degradation {
                    feature: probe.gives.to_owned(),
                    why: format!("hook {} is off: {why}", probe.name),
                    remedy: "use a newer kernel; 6.3 has every hook".to_owned(),
                })
            })
            .collect();
        degraded.extend(untold_sites(self.stacks, self.features.task_stack));
        let unseen = FUNCTIONS_SHOW.iter().filter(|shown| !shown.by.iter().any(|name| self.has(name)));
        degraded.extend(unseen.map(|shown| Degradation {
            feature: shown.feature.to_owned(),
            why: "only function probes show it, and this kernel does not permit them".to_owned(),
            remedy: shown.remedy.to_owned(),
        }));
        degraded
    }
}

fn is_on(hooks: &[Hook], name: &str) -> bool {
    hooks.iter().any(|hook| hook.name == name && hook.off_because.is_none())
}

fn shows_binds(hooks: &[Hook]) -> bool {
    is_on(hooks, UDP_GET_PORT) && is_on(hooks, TCP_GET_PORT)
}

/// What function probes show and no hook of the base set: any of them does.
struct Shown {
    feature: &'static str,
    by: &'static [&'static str],
    remedy: &'static str,
}

const FUNCTIONS_SHOW: [Shown; 3] = [
    Shown {
        feature: "the instant at which a UDP socket releases its port by connect(AF_UNSPEC)",
        by: &[UDP_DISCONNECT],
        remedy: "none needed: it is seen when the socket is next used or closed",
    },
    Shown {
        feature: "the difference between a disconnected UDP socket and one whose connect found no port (EAGAIN)",
        by: &[UDP_DISCONNECT, UDP_GET_PORT],
        remedy: "check the pool's figures: a pool that was not nearly full had a free port",
    },
    Shown {
        feature: "the instant at which the kernel closes a UDP socket of its own",
        by: &[UDP_UNHASH],
        remedy: "none needed: such sockets are looked up every 5 s",
    },
];

/// Call sites that are wanted and cannot be had here.
fn untold_sites(wanted: Stacks, can_walk_task: bool) -> Vec<Degradation> {
    let degradation = |feature: &str, why: &str, remedy: &str| Degradation {
        feature: feature.to_owned(),
        why: why.to_owned(),
        remedy: remedy.to_owned(),
    };
    let unwalked = (wanted != Stacks::None && !can_walk_task).then(|| {
        degradation(
            if wanted == Stacks::All {
                "call sites of bind() and UDP"
            } else {
                "modules of the kernel's UDP"
            },
            "before Linux 6.18 cgroup hooks cannot see a task's stack",
            "use Linux 6.18 or newer; those of TCP connect and listen work everywhere",
        )
    });
    let pointerless = (wanted == Stacks::All).then(|| {
        degradation(
            "callers in programs built without frame pointers",
            "the kernel follows frame pointers to find them",
            "build with -fno-omit-frame-pointer (Rust: -C force-frame-pointers=yes)",
        )
    });
    unwalked.into_iter().chain(pointerless).collect()
}

/// Whether a probe has a place on this kernel.
fn is_needed(probe: &Probe, hooks: &[Hook], features: &Features) -> bool {
    match probe.name {
        // Makes cookies at birth, which costs every socket a little: for old kernels only.
        "sock_create" => !features.socket_cookie,
        // Is for want of the function that finds the ports.
        SENDS => !is_on(hooks, UDP_GET_PORT),
        _ => true,
    }
}

/// Why a probe would report wrong events on this kernel, if it would.
fn unfit(probe: &Probe, hooks: &[Hook], layout: &KernelLayout) -> Option<&'static str> {
    if !matches!(probe.name, "bind4" | "bind6") || shows_binds(hooks) {
        return None;
    }
    if !layout.features.bind_verdict {
        return Some("before Linux 6.1 a bind that a program has denied looks like one that found no port");
    }
    (!layout.shows_no_port)
        .then_some("a bind that wants no port (IP_BIND_ADDRESS_NO_PORT) looks like one that found none")
}

fn load(layout: &KernelLayout, btf: &Btf, options: &CaptureOptions) -> Result<Ebpf, SourceError> {
    let buffer_bytes = options.buffer_bytes;
    let mut loader = EbpfLoader::new();
    loader
        .btf(Some(btf))
        .verifier_log_level(VerifierLogLevel::DISABLE)
        .map_max_entries("EVENTS", buffer_bytes);
    for (name, value) in layout.globals() {
        loader.override_global(name, value, true);
    }
    let wake_bytes = buffer_bytes / 4;
    let handler = layout.tw_timer_handler.unwrap_or_default();
    let can_ask_cookie = u32::from(layout.features.socket_cookie);
    loader.override_global("WAKE_BYTES", &wake_bytes, true);
    loader.override_global("CAN_ASK_COOKIE", &can_ask_cookie, true);
    let can_ask_verdict = u32::from(layout.features.bind_verdict);
    loader.override_global("CAN_ASK_VERDICT", &can_ask_verdict, true);
    let stacks = match options.stacks {
        Stacks::None => stacks::NONE,
        Stacks::Kernel => stacks::KERNEL,
        Stacks::All => stacks::ALL,
    };
    let can_walk_task = u32::from(layout.features.task_stack);
    loader.override_global("STACKS", &stacks, true);
    loader.override_global("CAN_WALK_TASK", &can_walk_task, true);
    loader.override_global("TW_TIMER_HANDLER", &handler, true);
    let (device, inode) = pid_namespace();
    loader.override_global("PIDNS_DEVICE", &device, true);
    loader.override_global("PIDNS_INODE", &inode, true);
    loader.load(portleak_ebpf::PROBES).map_err(|error| refused("the probes' maps", &error))
}

/// Our own pid namespace as `bpf_get_ns_current_pid_tgid` wants it: the device of its file as the kernel
/// encodes it (`MKDEV`, include/linux/kdev_t.h), and the inode. Zeros match no namespace.
fn pid_namespace() -> (u64, u64) {
    std::fs::metadata("/proc/self/ns/pid").map_or((0, 0), |file| {
        let (major, minor) = (rustix::fs::major(file.dev()), rustix::fs::minor(file.dev()));
        (u64::from(major) << 20 | u64::from(minor), file.ino())
    })
}

/// Told in the program's fdinfo since 5.12; older kernels skip nothing.
fn recursion_misses(program: RawFd) -> u64 {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{program}")).unwrap_or_default();
    let line = info.lines().find_map(|line| line.strip_prefix("recursion_misses:"));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or_default()
}

fn attach(ebpf: &mut Ebpf, name: &str, btf: &Btf, cgroup: &impl AsFd) -> Result<(), ProgramError> {
    // A link of its own beside others' is what `Single` means to bpf_link_create.
    let mode = CgroupAttachMode::Single;
    match ebpf.program_mut(name) {
        Some(Program::BtfTracePoint(program)) => {
            program.load(name.trim_end_matches("_nested"), btf)?;
            if name != SENDS {
                program.attach()?;
            }
        }
        // Runs when it is asked.
        Some(Program::Iter(program)) => program.load("task_file", btf)?,
        Some(Program::CgroupSock(program)) => {
            program.load()?;
            program.attach(cgroup, mode)?;
        }
        Some(Program::CgroupSockAddr(program)) => {
            program.load()?;
            program.attach(cgroup, mode)?;
        }
        _ => return Err(ProgramError::NotLoaded),
    }
    Ok(())
}

fn refused(what: &str, error: &(dyn std::error::Error + 'static)) -> SourceError {
    let mut reason = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        reason = inner.to_string();
        cause = inner.source();
    }
    SourceError {
        what: format!("{what} could not be set up: {reason}"),
        remedy: "run as root with CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN; see `portleak doctor`".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hooks(on: &[&str]) -> Vec<Hook> {
        on.iter().map(|name| Hook { name: (*name).to_owned(), off_because: None }).collect()
    }

    fn probe(name: &str) -> &'static Probe {
        PROBES.iter().find(|probe| probe.name == name).unwrap()
    }

    const FEATURES: Features = Features { socket_cookie: true, bind_verdict: false, task_stack: true };

    #[test]
    fn probes_are_for_want_of_something_else() {
        assert!(is_needed(probe(SENDS), &hooks(&[]), &FEATURES));
        assert!(!is_needed(probe(SENDS), &hooks(&[UDP_GET_PORT]), &FEATURES));
        assert!(!is_needed(probe("sock_create"), &hooks(&[]), &FEATURES));
        let old = Features { socket_cookie: false, ..FEATURES };
        assert!(is_needed(probe("sock_create"), &hooks(&[]), &old));
    }

    #[test]
    fn binds_are_told_apart_by_functions_or_by_what_they_show() {
        let layout = KernelLayout { features: FEATURES, ..KernelLayout::default() };
        let functions = hooks(&[UDP_GET_PORT, TCP_GET_PORT]);
        assert_eq!(unfit(probe("bind4"), &functions, &layout), None);
        assert!(unfit(probe("bind4"), &hooks(&[UDP_GET_PORT]), &layout).is_some());
        assert_eq!(unfit(probe("connect4"), &hooks(&[]), &layout), None);
    }
}
