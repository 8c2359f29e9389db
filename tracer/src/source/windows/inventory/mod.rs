//! What Windows lists on request, beside its traces: the open sockets, the port ranges, the drivers.
//!
//! The code here only parses bytes and texts; `win32` obtains them from Windows.

pub mod exclusions;
pub mod merge;
pub mod modules;
pub mod netsh;
pub mod ranges;
pub mod tables;

pub use merge::merge;

use crate::event::{Protocol, SocketState};
use std::net::SocketAddr;

/// A socket as Windows lists it (IP Helper).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    /// Its protocol.
    pub protocol: Protocol,
    /// Its local address.
    pub local: SocketAddr,
    /// Its remote address.
    pub remote: Option<SocketAddr>,
    /// Its state.
    pub state: RowState,
    /// The process that created it: 4 for the kernel, 0 when Windows does not report it (TIME_WAIT).
    pub pid: u32,
}

/// The state of a listed socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RowState {
    /// It holds its port. A UDP socket is [`SocketState::Bound`].
    Held(SocketState),
    /// Its connection has ended, its port is not free yet.
    TimeWait,
}
