//! `portleak doctor --self-test` on Windows: what no description says, and nobody could look at for us.
//!
//! Own sockets go every way that a port can go (`scenario`), and what the tracing says of them answers
//! the questions, one by one. Everything but the walk is portable: a written trace of a walk is
//! examined just the same.

mod answers;
mod captured_events;
#[cfg(windows)]
pub mod scenario;

pub use answers::answers;
pub use captured_events::CapturedEvents;

use std::net::SocketAddr;

/// A way that a port can go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// TCP: bound, and closed again.
    Bound,
    /// TCP: connected without a bind, and closed by this side first, which leads to TIME_WAIT.
    Connected,
    /// TCP: bound, then connected, and broken off.
    BoundConnected,
    /// TCP: connected to a port where nobody listens.
    Refused,
    /// TCP: bound to a port that another socket has, which fails.
    Taken,
    /// UDP: bound, and closed again.
    BoundUdp,
    /// UDP: sent from without a bind, and closed again.
    SentUdp,
}

/// What was done with one socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Which way it went.
    pub way: Way,
    /// Its own address and port.
    pub local: SocketAddr,
    /// Where to.
    pub remote: Option<SocketAddr>,
}

/// What was done with own sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// Our pid.
    pub pid: u32,
    /// One after the other.
    pub steps: Vec<Step>,
    /// For how long the tracing was heard after the last one, in seconds.
    pub heard_s: u64,
}
