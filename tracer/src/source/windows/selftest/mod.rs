//! `portleak doctor --self-test` on Windows: answers what Microsoft's documentation leaves open.
//!
//! `scenario` runs our own sockets through every operation that acquires a port. The captured events
//! then answer the questions one by one. Everything but the scenario is portable: a trace file of a
//! scenario is analysed in the same way.

mod answers;
mod captured_events;
#[cfg(windows)]
pub mod scenario;

pub use answers::answers;
pub use captured_events::CapturedEvents;

use std::net::SocketAddr;

/// An operation on a socket that acquires a port, or fails to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// TCP: bind, then close.
    Bound,
    /// TCP: connect without a bind. This side closes first, which leads to TIME_WAIT.
    Connected,
    /// TCP: bind, connect, then reset.
    BoundConnected,
    /// TCP: connect to a port without a listener.
    Refused,
    /// TCP: bind to a port in use, which fails.
    InUse,
    /// UDP: bind, then close.
    BoundUdp,
    /// UDP: send without a bind, then close.
    SentUdp,
}

/// The operation that one socket went through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The operation.
    pub operation: Operation,
    /// The local address and port.
    pub local: SocketAddr,
    /// The destination.
    pub remote: Option<SocketAddr>,
}

/// What the scenario did with its own sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// The pid of this process.
    pub pid: u32,
    /// Its steps, in order.
    pub steps: Vec<Step>,
    /// How long events were captured after the last step, in seconds.
    pub captured_s: u64,
}
