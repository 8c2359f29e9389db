//! The portable vocabulary: what every source emits and the engine understands.
//!
//! A source (Linux probes, Windows ETW, a recording) turns what its kernel did into these events;
//! everything after that point is the same on every machine. Times are nanoseconds on the source's
//! monotonic clock (on Linux `CLOCK_BOOTTIME`); [`Clock`] maps them to wall time for people.

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
    /// The kernel's own mark says that a process belongs to the tree of the traced command
    /// (`portleak run`). A source that can mark emits it before anything that the process owns; it
    /// may come more than once.
    Descendant {
        /// Which process.
        id: ProcessId,
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
    /// what the engine asked (`Engine::take_idle_queries`). A source that does not know says nothing.
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
