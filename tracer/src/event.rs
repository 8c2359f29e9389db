//! The portable vocabulary: what every source says and the engine understands.
//!
//! A source (Linux probes, Windows ETW, a recording) turns what its kernel did into these events;
//! everything after that point is the same on every machine. Times are nanoseconds on the source's
//! monotonic clock (on Linux `CLOCK_BOOTTIME`); [`Clock`] maps them to wall time for people.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU64;
use std::sync::Arc;

/// Identifies one hold (one socket's possession of one local port) for as long as it exists.
///
/// On Linux the socket cookie, which the kernel never reuses until reboot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HoldId(pub u64);

/// Identifies a call site: one stack of one process (or of the kernel) that acquires ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SiteId(pub NonZeroU64);

/// One frame of a call site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A place in a file, which is given its name when it is shown: the process may be gone by then.
    File {
        /// The executable or library, as this machine reaches it.
        path: Arc<str>,
        /// Offset in the file.
        offset: u64,
    },
    /// What the source could name itself: the kernel's functions, code compiled while running.
    Named {
        /// The function.
        name: Arc<str>,
        /// Where it is, if that says more: a kernel module.
        module: Option<Arc<str>>,
    },
    /// An address of which nothing is known.
    Address(u64),
}

/// A network namespace, by inode number (`/proc/PID/ns/net`). Always 0 where there are none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NetNs(pub u32);

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

/// Who is answerable for a hold.
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
    /// Nobody: a socket in flight between processes, one that io_uring keeps for nobody who can be
    /// found, or one whose owner is unknown.
    Unowned,
    /// All processes of one program together, where it is them that leak and none of them alone.
    /// The engine says it; a source never does.
    Program(ProgramId),
}

/// What is known of a process. Absent facts are `None`, never made up.
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
    /// Its container: the first digits of an id, or a name.
    pub container: Option<Arc<str>>,
    /// Its systemd unit, or the service it implements.
    pub service: Option<Arc<str>>,
}

/// The transport protocols whose ports are traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP over IPv4 or IPv6.
    Tcp,
    /// UDP over IPv4 or IPv6.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// The ports that one (namespace, protocol) may hand out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PoolId {
    /// The namespace.
    pub netns: NetNs,
    /// The protocol.
    pub protocol: Protocol,
}

/// The range a pool hands out from, both ends included, and how many of it are reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PortRange {
    /// The lowest port.
    pub low: u16,
    /// The highest port.
    pub high: u16,
    /// Ports inside the range that are never handed out (`ip_local_reserved_ports`).
    pub reserved: u32,
}

impl PortRange {
    /// How many ports the pool can hand out.
    #[must_use]
    pub fn usable(&self) -> u32 {
        (u32::from(self.high) + 1).saturating_sub(u32::from(self.low)).saturating_sub(self.reserved)
    }
}

/// The states of a TCP socket that matter for a port's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SocketState {
    /// Bound and nothing else.
    Bound,
    /// Waiting for connections.
    Listen,
    /// Connecting.
    SynSent,
    /// Connected (for UDP: has a default destination).
    Connected,
    /// The peer has closed, this side has not: the classic leak when it lasts.
    CloseWait,
    /// This side has closed and the connection is on its way out (FIN_WAIT, CLOSING, LAST_ACK).
    Closing,
}

/// A port was acquired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acquired {
    /// The new hold.
    pub hold: HoldId,
    /// Who acquired it.
    pub owner: OwnerId,
    /// From which pool.
    pub pool: PoolId,
    /// The pool's range at that instant, where the source knows it.
    pub range: Option<PortRange>,
    /// Whether it was held before tracing began: its age is unknown.
    pub pre_existing: bool,
    /// The local address, unspecified (`0.0.0.0`, `::`) when not bound to one.
    pub local: IpAddr,
    /// The local port; `None` when the kernel has chosen one that it does not show yet
    /// (a UDP connect on Linux), followed by [`EventKind::PortLearnt`].
    pub port: Option<u16>,
    /// Where to, if it is for one destination.
    pub remote: Option<SocketAddr>,
    /// The socket's state.
    pub state: SocketState,
    /// The call site, where stacks are taken.
    pub site: Option<SiteId>,
}

/// Why no port could be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FailureCode {
    /// `connect()` found no port for the destination.
    EADDRNOTAVAIL,
    /// `bind(0)` or `listen()` found no port.
    EADDRINUSE,
    /// A UDP `connect()` or `sendto()` found no port; easily mistaken for "would block".
    EAGAIN,
    /// Windows: `bind()` or `connect()` found no port (10055, `STATUS_TOO_MANY_ADDRESSES` in the kernel).
    WSAENOBUFS,
}

impl FailureCode {
    /// The name users know it by.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::EADDRNOTAVAIL => "EADDRNOTAVAIL",
            Self::EADDRINUSE => "EADDRINUSE",
            Self::EAGAIN => "EAGAIN",
            Self::WSAENOBUFS => "WSAENOBUFS",
        }
    }

    /// The kernel's own number for it, where that is what users meet: Windows' NTSTATUS.
    #[must_use]
    pub fn status(self) -> Option<u32> {
        match self {
            Self::EADDRNOTAVAIL | Self::EADDRINUSE | Self::EAGAIN => None,
            Self::WSAENOBUFS => Some(0xc000_0209),
        }
    }
}

/// An allocation failed for want of ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// The victim.
    pub owner: OwnerId,
    /// The pool that had none.
    pub pool: PoolId,
    /// The error that the victim got.
    pub code: FailureCode,
    /// The local address asked for.
    pub local: Option<IpAddr>,
    /// The destination asked for.
    pub remote: Option<SocketAddr>,
    /// The hold that had been announced for this attempt and is now known never to have existed
    /// (a UDP connect on Linux); `None` when none was announced.
    pub retracts: Option<HoldId>,
}

/// A TIME_WAIT that was there when tracing began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeWaitFound {
    /// The hold whose connection it ends; not known otherwise, as a rule.
    pub hold: HoldId,
    /// The pool of its port.
    pub pool: PoolId,
    /// Where its connection went.
    pub remote: Option<SocketAddr>,
    /// When it will end, unless [`EventKind::TimeWaitEnded`] says so earlier.
    pub ends_ns: u64,
}

/// Where events got lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LossStage {
    /// In the kernel: the buffer was full.
    Kernel,
    /// Between the source and the engine.
    Queue,
    /// A record that could not be decoded.
    Decode,
    /// In the Windows trace session.
    Etw,
    /// In a damaged part of a recording: nothing is known of them but their number.
    Recording,
    /// In the source's own table of ports, which is full: those that found no room are followed no
    /// more, and their releases are not counted.
    Table,
}

impl LossStage {
    /// The name in the JSON contract.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Queue => "queue",
            Self::Decode => "decode",
            Self::Etw => "etw",
            Self::Recording => "recording",
            Self::Table => "table",
        }
    }

    /// Whether what the source counts is right nevertheless.
    #[must_use]
    pub fn keeps_totals(self) -> bool {
        !matches!(self, Self::Etw | Self::Recording | Self::Table)
    }
}

/// How many ports an owner has acquired and released since tracing began, counted in the kernel
/// and therefore right even when events were lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Ports acquired.
    pub acquired: u64,
    /// Ports released, pre-existing ones and those that went to another owner included.
    pub released: u64,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// What a process is called; repeated when it changes (exec).
    Process {
        /// Which process.
        id: ProcessId,
        /// What is known of it now.
        facts: ProcessFacts,
    },
    /// A process was forked.
    Forked {
        /// The parent.
        parent: ProcessId,
        /// The child.
        child: ProcessId,
    },
    /// A process ended. Its holds may live on.
    Exited {
        /// Which process.
        id: ProcessId,
    },
    /// A call site, before the first acquisition from it.
    Site {
        /// Which.
        id: SiteId,
        /// Its stack, innermost frame first.
        frames: Arc<[Frame]>,
    },
    /// A port was acquired.
    Acquired(Acquired),
    /// The number of a hold's port became known.
    PortLearnt {
        /// Which hold.
        hold: HoldId,
        /// Its local port.
        port: u16,
    },
    /// A hold's socket changed state, or got a destination.
    State {
        /// Which hold.
        hold: HoldId,
        /// The new state.
        state: SocketState,
        /// The destination, when it changed with the state.
        remote: Option<SocketAddr>,
    },
    /// The port of a hold is free again, as far as this hold is concerned.
    Released {
        /// Which hold.
        hold: HoldId,
    },
    /// A TIME_WAIT began on the port of a hold. The hold itself is released beside it.
    TimeWaitBegan {
        /// The hold whose connection it ends.
        hold: HoldId,
    },
    /// That TIME_WAIT ended; directly followed by [`EventKind::TimeWaitBegan`] when it was only re-armed.
    TimeWaitEnded {
        /// The hold whose connection it ended.
        hold: HoldId,
    },
    /// A TIME_WAIT that began before tracing: of nobody that is known.
    TimeWaitFound(TimeWaitFound),
    /// A hold belongs to another owner from now on: the one before has given its socket away, or
    /// ended while others can use it.
    ///
    /// A hold stays with its owner as long as that can use the socket. Otherwise it goes to a
    /// process that can, and where none can although it is open (in flight between processes) to
    /// [`OwnerId::Unowned`]. An orphan, which the kernel is still
    /// closing after its last descriptor is gone, stays with its last owner, as TIME_WAIT does.
    Moved {
        /// Which hold.
        hold: HoldId,
        /// Its new owner.
        owner: OwnerId,
    },
    /// The kernel's list of sockets showed that the events had been wrong; those that mend it
    /// are told beside this.
    Corrected {
        /// About how many holds.
        count: u64,
    },
    /// An allocation failed for want of ports.
    Failed(Failed),
    /// No port was free any more, and one was handed out that closing connections still refer to
    /// (Windows): the next allocation may fail.
    Scarce {
        /// The pool.
        pool: PoolId,
    },
    /// A pool's range, when it is first seen and when it changes.
    Pool {
        /// Which pool.
        pool: PoolId,
        /// Its range.
        range: PortRange,
    },
    /// The kernel's own totals for an owner. Sent after a loss and at the end.
    Totals {
        /// The owner.
        owner: OwnerId,
        /// For which protocol.
        protocol: Protocol,
        /// The totals.
        totals: Totals,
    },
    /// Events were lost.
    Lost {
        /// How many.
        count: u64,
        /// Where.
        stage: LossStage,
    },
    /// A full list of what is held follows as [`EventKind::Confirmed`], after a loss.
    ResyncBegan,
    /// A hold exists now; carries all that is needed if its acquisition was lost.
    Confirmed(Acquired),
    /// The list is complete: a hold that was acquired before it began and not confirmed is gone.
    ResyncEnded,
    /// For how long no data has moved on a hold's connection, in either direction: the answer to
    /// what the engine asked (`Engine::take_questions`). A source that does not know says nothing.
    Idle {
        /// Which hold.
        hold: HoldId,
        /// Nanoseconds since data was last sent or received; its age if never.
        idle_ns: u64,
    },
}

/// Something that happened, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Nanoseconds on the source's clock.
    pub at_ns: u64,
    /// What.
    pub kind: EventKind,
}

/// Maps a source's monotonic nanoseconds to wall time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// An instant on the source's clock, in nanoseconds.
    pub monotonic_ns: u64,
    /// The same instant in nanoseconds since 1970-01-01 UTC.
    pub unix_ns: i128,
}

impl Clock {
    /// Wall time of `at_ns`, in nanoseconds since 1970-01-01 UTC.
    #[must_use]
    pub fn unix_ns(&self, at_ns: u64) -> i128 {
        self.unix_ns + i128::from(at_ns) - i128::from(self.monotonic_ns)
    }
}

/// One hook and whether it works here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// The probe's name, as `bpftool prog` shows it.
    pub name: String,
    /// `None` when it is on; otherwise why it is off.
    pub off_because: Option<String>,
}

/// A feature that does not work here as it should.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Degradation {
    /// What is missing or inexact.
    pub feature: String,
    /// Why.
    pub why: String,
    /// What to do about it.
    pub remedy: String,
}

/// What this machine's settings mean for its ports, and what could be better.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    /// What is so, one sentence.
    pub says: String,
    /// What to do about it, one sentence.
    pub remedy: String,
}

/// A question that only a machine itself can answer, and what it answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The question.
    pub question: String,
    /// What was observed; `None` when nothing was.
    pub observed: Option<String>,
}

/// What a source can see, told before its first event. Recordings begin with it: what is added later
/// needs a default, so that older ones can still be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capture {
    /// `linux` or `windows`.
    pub platform: String,
    /// The kernel's release.
    pub kernel: String,
    /// Every hook, on or off.
    pub hooks: Vec<Hook>,
    /// Everything that is inexact here.
    pub degraded: Vec<Degradation>,
    /// How to read the events' times.
    pub clock: Clock,
    /// How many `started_ticks` make a second.
    pub ticks_per_s: u64,
    /// The pools known at the start.
    #[serde(with = "pairs")]
    pub pools: BTreeMap<PoolId, PortRange>,
}

/// A map whose keys are no texts, as a list of pairs.
mod pairs {
    use super::{BTreeMap, PoolId, PortRange};
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        pools: &BTreeMap<PoolId, PortRange>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_seq(pools)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<BTreeMap<PoolId, PortRange>, D::Error> {
        Ok(Vec::deserialize(from)?.into_iter().collect())
    }
}
