//! Holds: one socket's possession of one local port.

use super::{OwnerId, PoolId, PortRange, SiteId};
use std::net::{IpAddr, SocketAddr};

/// Identifies one hold (one socket's possession of one local port) for as long as it exists.
///
/// On Linux the socket cookie, which the kernel never reuses until reboot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HoldId(pub u64);

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
    /// The peer has closed, this side has not. The most common leak if it lasts.
    CloseWait,
    /// This side has closed; the connection is being closed (FIN_WAIT, CLOSING, LAST_ACK).
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
    /// The pool's range at that instant, if the source knows it.
    pub range: Option<PortRange>,
    /// Whether it was held before tracing began: its age is unknown.
    pub pre_existing: bool,
    /// The local address, unspecified (`0.0.0.0`, `::`) when not bound to one.
    pub local: IpAddr,
    /// The local port; `None` if the kernel has chosen one and does not show it yet
    /// (a UDP connect on Linux), followed by [`EventKind::PortLearnt`](super::EventKind::PortLearnt).
    pub port: Option<u16>,
    /// The destination, if it is for one only.
    pub remote: Option<SocketAddr>,
    /// The socket's state.
    pub state: SocketState,
    /// The call site, if call sites are captured.
    pub site: Option<SiteId>,
}

/// A TIME_WAIT that existed when tracing began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeWaitFound {
    /// The hold whose connection it ends; as a rule no other event has it.
    pub hold: HoldId,
    /// The pool of its port.
    pub pool: PoolId,
    /// The destination of its connection.
    pub remote: Option<SocketAddr>,
    /// When it ends, unless [`EventKind::TimeWaitEnded`](super::EventKind::TimeWaitEnded) comes earlier.
    pub ends_ns: u64,
}
