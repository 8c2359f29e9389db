//! Decoded records: the vocabulary between the layouts and the model.
//!
//! Nothing is interpreted here. Pointers are names that Windows reuses, a pid of 0 is unknown, and a port is
//! in the byte order of its record.

use super::record::Record;
use super::{guid, layout, mof};
use crate::event::Protocol;
use std::net::SocketAddr;

/// Why a known event cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unreadable {
    /// Its version has no known layout.
    Layout,
    /// It is shorter than its layout.
    Short,
}

/// The content of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecodedEvent {
    /// From the TCP/IP stack.
    Tcpip(Tcpip),
    /// From the socket layer.
    Afd(Afd),
    /// About a process.
    Process(Process),
    /// An image (program, library, driver) is loaded.
    Image(Image),
    /// A service runs in a process.
    Service(Service),
    /// Traffic, as the kernel logger reports it.
    Traffic(Traffic),
    /// Events were lost.
    Lost {
        /// How many, at least.
        count: u64,
    },
}

/// A reference to a port, as events 1191 to 1195 report it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortReference {
    /// The endpoint or connection that holds it.
    pub acquirer: u64,
    /// The port, in a byte order that is derived from the trace (`PortByteOrder`).
    pub port: u16,
    /// Whether the reference is weak; for event 1192, whether the reference was granted.
    pub weak: bool,
    /// The endpoint from which the reference comes.
    pub original: u64,
}

/// A connection, as many events describe it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    /// Its control block.
    pub tcb: u64,
    /// Its local address.
    pub local: Option<SocketAddr>,
    /// Its remote address.
    pub remote: Option<SocketAddr>,
    /// The result (NTSTATUS).
    pub status: u32,
    /// The process, 0 when unknown.
    pub pid: u32,
    /// The process's start key, from Windows 10 2004 on.
    pub start_key: Option<u64>,
}

/// An endpoint, as many events describe it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// Its pointer; `None` in layouts without it.
    pub endpoint: Option<u64>,
    /// Its local address.
    pub local: Option<SocketAddr>,
    /// The result (NTSTATUS).
    pub status: u32,
    /// The process, 0 when unknown.
    pub pid: u32,
    /// The process's start key, from Windows 10 2004 on.
    pub start_key: Option<u64>,
}

/// An event of the TCP/IP stack (Microsoft-Windows-TCPIP), with its event ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tcpip {
    /// 1001, 1013, 1391: an endpoint was created.
    Created(Protocol, Endpoint),
    /// 1008, 1396: an endpoint was bound.
    Bound(Protocol, Endpoint),
    /// 1006, 1394: an endpoint got no port.
    BindFailed(Protocol, Endpoint),
    /// 1009, 1397, 1398: an endpoint was closed.
    Closed(Protocol, Endpoint),
    /// 1002: a program requests a connection.
    Connecting(Connection),
    /// 1033: a connection was established.
    Connected(Connection),
    /// 1034: a connect failed.
    ConnectFailed(Connection),
    /// 1050: a connect failed because no port was free.
    ConnectNoPort(Connection),
    /// 1039: a connection was aborted.
    Aborted(Connection),
    /// 1051: a connection changed its state.
    State {
        /// Its control block.
        tcb: u64,
        /// The new state: 2 SYN_SENT, 4 ESTABLISHED, 7 CLOSE_WAIT, 10 TIME_WAIT and so on.
        state: u32,
    },
    /// 1300: a connection from before the trace.
    Exists(Connection, u32),
    /// 1191: a port was acquired.
    Acquired(PortReference),
    /// 1192: a connection references its endpoint's port, or failed to.
    Inherited(PortReference),
    /// 1193: a port was released.
    Released(PortReference),
    /// 1194: a reference moved from one holder to another.
    Replaced(PortReference),
    /// 1195: no port was free, so Windows handed out one that closing connections still reference.
    Shared(PortReference),
    /// 1054, 1519: ports were reserved.
    Reserved {
        /// The result (NTSTATUS).
        status: u32,
        /// 6 for TCP, 17 for UDP; `None` in 1054.
        transport: Option<u32>,
        /// The first reserved port.
        start: u16,
        /// How many ports.
        count: u16,
    },
}

/// An event of the socket layer (Microsoft-Windows-Winsock-AFD).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Afd {
    /// The operation.
    pub action: AfdAction,
    /// Whether the operation has ended; else it begins.
    pub done: bool,
    /// The kernel's process object, which is always the right one.
    pub process: u64,
    /// AFD's endpoint, another pointer than the stack's.
    pub endpoint: u64,
    /// The process id, in events that carry it (1000).
    pub pid: u32,
    /// The result (NTSTATUS).
    pub status: u32,
    /// The address to bind or to connect to.
    pub address: Option<SocketAddr>,
    /// The protocol of a created socket; `None` in other events, and for other protocols.
    pub protocol: Option<Protocol>,
}

/// An operation on a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AfdAction {
    /// 1000.
    Create,
    /// 1001.
    Close,
    /// 1029, 1030.
    Bind,
    /// 1018, 1021.
    Connect,
    /// 1032.
    Abort,
}

/// The state of a process's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessLife {
    /// It started.
    Started,
    /// It exists.
    Exists,
    /// It ended.
    Ended,
}

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Whether it starts, exists or ends.
    pub life: ProcessLife,
    /// Its pid.
    pub pid: u32,
    /// The pid of its parent.
    pub parent: Option<u32>,
    /// The start key of its parent, from Windows 10 2004 on.
    pub parent_start_key: Option<u64>,
    /// When it was created, as FILETIME.
    pub created: Option<u64>,
    /// Its start key.
    pub start_key: Option<u64>,
    /// Its image: a file name, or a path.
    pub image: Option<String>,
    /// Its command line.
    pub command: Option<String>,
}

/// An image in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its base address.
    pub base: u64,
    /// Its size in bytes.
    pub size: u64,
    /// The process that loaded it; 0 or 4 for the kernel.
    pub pid: u32,
    /// The path of its file.
    pub path: String,
}

/// A service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The process that it runs in; 0 when it does not run.
    pub pid: u32,
    /// Its short name.
    pub name: String,
}

/// The kind of traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrafficKind {
    /// A connection was established from here.
    Connected,
    /// A connection was accepted here.
    Accepted,
    /// A connection ended.
    Disconnected,
    /// Data was sent.
    Sent,
    /// Data was received.
    Received,
}

/// Traffic of one connection or socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// Its protocol.
    pub protocol: Protocol,
    /// Its kind.
    pub kind: TrafficKind,
    /// The process.
    pub pid: u32,
    /// The local address.
    pub local: SocketAddr,
    /// The remote address.
    pub remote: SocketAddr,
}

/// Decodes a record; `None` when the event is not used.
#[must_use]
pub fn decode(record: &Record<'_>) -> Option<Result<DecodedEvent, Unreadable>> {
    match record.provider {
        guid::TCPIP | guid::AFD | guid::KERNEL_PROCESS => layout::decode(record),
        // 32: an event was lost; 33: a buffer was lost.
        guid::LOST_EVENT if matches!(record.opcode, 32 | 33) => Some(Ok(DecodedEvent::Lost { count: 1 })),
        _ => mof::decode(record),
    }
}
