//! Owners: who holds ports.

use super::NetNs;
use std::sync::Arc;

/// A process: pid and start time together, so that a reused pid is another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessId {
    /// The thread group id, as `ps` shows it.
    pub pid: u32,
    /// When the process started, since boot. On Linux in clock ticks (1/100 s): field 22 of
    /// `/proc/PID/stat`. On Windows in 100 ns: its creation time; 0 when a trace does not have it, and
    /// when the pid was first seen when it must have been reused.
    pub started_ticks: u64,
}

/// A program: an executable in a service, container or neither.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProgramId {
    /// The executable's path, or its name where the path is not known.
    pub exe: Arc<str>,
    /// The service or container that its processes run in.
    pub service: Option<Arc<str>>,
}

/// The owner of a hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OwnerId {
    /// A user process.
    Process(ProcessId),
    /// The kernel itself, split by module or driver where it can be named.
    System {
        /// The module or driver, `None` when it cannot be named.
        module: Option<Arc<str>>,
        /// The namespace that the kernel's socket lives in.
        netns: NetNs,
    },
    /// No process: a socket in flight between processes, one in an io_uring whose process is not
    /// found, or one whose owner is unknown.
    Unowned,
    /// All processes of one program together, when they leak together and none of them alone. Only
    /// the engine makes it.
    Program(ProgramId),
    /// The owners that are not listed each by itself: of a program, or with `None` of all. Only the
    /// engine makes it.
    Others(Option<ProgramId>),
}

/// Facts of a process. Unknown ones are `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessFacts {
    /// The command name (at most 15 bytes on Linux).
    pub comm: Arc<str>,
    /// The executable's path.
    pub exe: Option<Arc<str>>,
    /// The command line, arguments separated by a space; cut where the source had to.
    pub cmdline: Option<Arc<str>>,
    /// The real user id.
    pub uid: Option<u32>,
    /// The parent's pid.
    pub ppid: Option<u32>,
    /// The network namespace that the process runs in.
    pub netns: Option<NetNs>,
    /// The path of its cgroup, `/` at the top of the hierarchy.
    pub cgroup: Option<Arc<str>>,
    /// Its container: the start of the id, or a name.
    pub container: Option<Arc<str>>,
    /// Its systemd unit, or the service it implements.
    pub service: Option<Arc<str>>,
}

/// How many ports an owner has acquired and released since tracing began. The kernel counts them, so
/// they are exact even when events were lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Ports acquired.
    pub acquired: u64,
    /// Ports released, pre-existing ones and those that went to another owner included.
    pub released: u64,
}
