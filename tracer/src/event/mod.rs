//! The portable vocabulary: what every source emits and the engine consumes.
//!
//! A source (Linux probes, Windows ETW, a recording) translates its kernel's activity into these
//! events; everything after that is the same on every system. Times are nanoseconds on the source's
//! monotonic clock (on Linux `CLOCK_BOOTTIME`); [`Clock`] maps them to wall time.

mod call_site;
mod capture;
mod failure;
mod hold;
mod loss;
mod owner;
mod pool;

pub use call_site::{Frame, SiteId};
pub use capture::{Advice, Answer, Capture, Clock, Degradation, Hook, Incomplete};
pub use failure::{Failed, FailureCode};
pub use hold::{Acquired, HoldId, SocketState, TimeWaitFound};
pub use loss::LossStage;
pub use owner::{OwnerId, ProcessFacts, ProcessId, ProgramId, Totals};
pub use pool::{NetNs, PoolId, PortRange, Protocol};

use std::net::SocketAddr;
use std::sync::Arc;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// Name and other facts of a process; repeated when they change (exec).
    Process {
        /// Which process.
        id: ProcessId,
        /// Its facts now.
        facts: ProcessFacts,
    },
    /// A process was forked.
    Forked {
        /// The parent.
        parent: ProcessId,
        /// The child.
        child: ProcessId,
    },
    /// The kernel's own mark says that a process belongs to the tree of the traced command
    /// (`portleak run`). A source that can mark emits it before anything that the process owns; it
    /// may come more than once.
    Descendant {
        /// Which process.
        id: ProcessId,
    },
    /// A process ended. Its holds may outlive it.
    Exited {
        /// Which process.
        id: ProcessId,
    },
    /// A call site; emitted before the first acquisition from it.
    Site {
        /// Which.
        id: SiteId,
        /// Its stack, innermost frame first.
        frames: Arc<[Frame]>,
    },
    /// A port was acquired.
    Acquired(Acquired),
    /// The port number of a hold became known.
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
    /// A hold ended. Its port is free unless another hold or a TIME_WAIT has it as well.
    Released {
        /// Which hold.
        hold: HoldId,
    },
    /// A TIME_WAIT began on the port of a hold. The hold has a release of its own.
    TimeWaitBegan {
        /// The hold whose connection it ends.
        hold: HoldId,
    },
    /// That TIME_WAIT ended; directly followed by [`EventKind::TimeWaitBegan`] when it was only re-armed.
    TimeWaitEnded {
        /// The hold whose connection it ended.
        hold: HoldId,
    },
    /// A TIME_WAIT that began before tracing; its owner is unknown.
    TimeWaitFound(TimeWaitFound),
    /// A hold changed its owner: the owner passed its socket on, or ended while others can use it.
    ///
    /// A hold stays with its owner as long as that process can use the socket. After that it moves to
    /// a process that can, or to [`OwnerId::Unowned`] if the socket is open and no process can (in
    /// flight between processes). An orphan, which the kernel is still closing after its last
    /// descriptor is gone, stays with its last owner, and so does a TIME_WAIT.
    Moved {
        /// Which hold.
        hold: HoldId,
        /// Its new owner.
        owner: OwnerId,
    },
    /// The kernel's list of sockets contradicted earlier events. The events that correct it are
    /// emitted beside this one.
    Corrected {
        /// About how many holds.
        count: u64,
    },
    /// An allocation failed because no port was free.
    Failed(Failed),
    /// No port was free and the port of a closing connection was reused (Windows): the next
    /// allocation may fail.
    Scarce {
        /// The pool.
        pool: PoolId,
    },
    /// A pool's range; emitted when it is first seen and when it changes.
    Pool {
        /// Which pool.
        pool: PoolId,
        /// Its range.
        range: PortRange,
    },
    /// The kernel's totals of an owner. Emitted after a loss and at the end.
    Totals {
        /// The owner.
        owner: OwnerId,
        /// For which protocol.
        protocol: Protocol,
        /// The totals.
        totals: Totals,
        /// The namespace that all of them are of, where the kernel says so.
        netns: Option<NetNs>,
    },
    /// Events were lost.
    Lost {
        /// How many.
        count: u64,
        /// Where.
        stage: LossStage,
    },
    /// After a loss: a list of all holds follows as [`EventKind::Confirmed`].
    ResyncBegan,
    /// A hold exists now. It has all fields, in case its acquisition was lost.
    Confirmed(Acquired),
    /// The list is complete: a hold that was acquired before it began and is not in it has ended.
    ResyncEnded,
    /// For how long no data has moved on a hold's connection, in either direction: the answer to an
    /// idle query (`Engine::take_idle_queries`). A source that does not know emits nothing.
    Idle {
        /// Which hold.
        hold: HoldId,
        /// Nanoseconds since data was last sent or received; its age if never.
        idle_ns: u64,
    },
}

/// An event and its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Nanoseconds on the source's clock.
    pub at_ns: u64,
    /// What happened.
    pub kind: EventKind,
}
