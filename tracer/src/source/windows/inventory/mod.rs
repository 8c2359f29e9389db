//! What Windows lists when it is asked, beside what its tracing tells: the sockets of this instant,
//! and the ports that it hands out.
//!
//! Everything here reads bytes and texts, wherever they come from; `win32` asks Windows for them.

pub mod exclusions;
pub mod merge;
pub mod modules;
pub mod netsh;
pub mod ranges;
pub mod tables;

pub use merge::merge;

use crate::event::{Protocol, SocketState};
use std::net::SocketAddr;

/// A socket that Windows lists (IP Helper).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    /// Its protocol.
    pub protocol: Protocol,
    /// Its own address and port.
    pub local: SocketAddr,
    /// Where it is connected to.
    pub remote: Option<SocketAddr>,
    /// Its state.
    pub state: RowState,
    /// The process that created it: 4 for the kernel's own, 0 when Windows does not say (TIME_WAIT).
    pub pid: u32,
}

/// The state of a listed socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RowState {
    /// It holds its port. A socket of UDP is [`SocketState::Bound`].
    Held(SocketState),
    /// Its connection is over, its port not yet free.
    TimeWait,
}
