//! What a record says, decoded: the vocabulary between the layouts and the model.
//!
//! Nothing here is interpreted. Pointers are names that Windows reuses, a pid of 0 means unknown,
//! and a port is as the record has it.

use super::record::Record;
use super::{guid, layout, mof};
use crate::event::Protocol;
use std::net::SocketAddr;

/// A record that says something, but not in a way that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unreadable {
    /// Its layout is of a version that is not known.
    Layout,
    /// It is shorter than its layout.
    Short,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecodedEvent {
    /// Of the TCP/IP stack.
    Tcpip(Tcpip),
    /// Of the socket layer.
    Afd(Afd),
    /// Of a process.
    Process(Process),
    /// An image (program, library, driver) is loaded.
    Image(Image),
    /// A service runs in a process.
    Service(Service),
    /// Traffic, as the kernel logger tells it.
    Traffic(Traffic),
    /// Events were lost.
    Lost {
        /// How many, at least.
        count: u64,
    },
}

/// Which way a port is held, as events 1191 to 1195 say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortReference {
    /// The endpoint or connection.
    pub acquirer: u64,
    /// The port, in a byte order that is found out (`PortByteOrder`).
    pub port: u16,
    /// Whether the reference is weak; of 1192, whether it was had.
    pub weak: bool,
    /// The endpoint that it comes from.
    pub original: u64,
}

/// A connection, as many events name it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    /// Its control block.
    pub tcb: u64,
    /// Its own address.
    pub local: Option<SocketAddr>,
    /// The other side's address.
    pub remote: Option<SocketAddr>,
    /// What came of it (NTSTATUS).
    pub status: u32,
    /// The process, 0 when unknown.
    pub pid: u32,
    /// The process's start key, from Windows 10 2004 on.
    pub start_key: Option<u64>,
}

/// An endpoint, as many events name it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// Its address in memory; `None` in layouts that do not have it.
    pub endpoint: Option<u64>,
    /// Its own address and port.
    pub local: Option<SocketAddr>,
    /// What came of it (NTSTATUS).
    pub status: u32,
    /// The process, 0 when unknown.
    pub pid: u32,
    /// The process's start key, from Windows 10 2004 on.
    pub start_key: Option<u64>,
}

/// What the TCP/IP stack says (Microsoft-Windows-TCPIP); the event's number stands beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tcpip {
    /// 1001, 1013, 1391: an endpoint was created.
    Created(Protocol, Endpoint),
    /// 1008, 1396: an endpoint was bound.
    Bound(Protocol, Endpoint),
    /// 1006, 1394: an endpoint was refused a port.
    BindFailed(Protocol, Endpoint),
    /// 1009, 1397, 1398: an endpoint was closed.
    Closed(Protocol, Endpoint),
    /// 1002: a connection was asked for.
    Connecting(Connection),
    /// 1033: a connection was made.
    Connected(Connection),
    /// 1034: no connection was made.
    ConnectFailed(Connection),
    /// 1050: no connection was made for want of a port.
    ConnectNoPort(Connection),
    /// 1039: a connection was broken off.
    Aborted(Connection),
    /// 1051: a connection changed its state.
    State {
        /// Its control block.
        tcb: u64,
        /// The state now: 2 SYN_SENT, 4 ESTABLISHED, 7 CLOSE_WAIT, 10 TIME_WAIT and so on.
        state: u32,
    },
    /// 1300: a connection that was there before.
    Exists(Connection, u32),
    /// 1191: a port was acquired.
    Acquired(PortReference),
    /// 1192: a connection took a reference to its endpoint's port, or did not get it.
    Inherited(PortReference),
    /// 1193: a port was released.
    Released(PortReference),
    /// 1194: a port went from one holder to another.
    Replaced(PortReference),
    /// 1195: for want of free ports, one was given out that closing connections still refer to.
    Shared(PortReference),
    /// 1054, 1519: ports were taken out of the pool.
    Reserved {
        /// Whether it was done (NTSTATUS).
        status: u32,
        /// 6 for TCP, 17 for UDP; 1054 does not say.
        transport: Option<u32>,
        /// The first of them.
        start: u16,
        /// How many.
        count: u16,
    },
}

/// What the socket layer says (Microsoft-Windows-Winsock-AFD).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Afd {
    /// What is done.
    pub action: AfdAction,
    /// Whether it is done now, or begins.
    pub done: bool,
    /// The kernel's process object, which is always right.
    pub process: u64,
    /// AFD's endpoint, which is not the stack's.
    pub endpoint: u64,
    /// The process id where the event has it (1000).
    pub pid: u32,
    /// What came of it (NTSTATUS).
    pub status: u32,
    /// The address it is about: to bind to, or to connect to.
    pub address: Option<SocketAddr>,
    /// The protocol of a socket that is created; `None` of others, and of sockets of neither.
    pub protocol: Option<Protocol>,
}

/// What is done with a socket.
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

/// What is known of a process's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessLife {
    /// It started.
    Started,
    /// It is there.
    Exists,
    /// It ended.
    Ended,
}

/// What is known of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// What happened.
    pub life: ProcessLife,
    /// Which.
    pub pid: u32,
    /// Its parent.
    pub parent: Option<u32>,
    /// The start key of its parent, from Windows 10 2004 on.
    pub parent_start_key: Option<u64>,
    /// When it was created, as FILETIME.
    pub created: Option<u64>,
    /// Its start key.
    pub start_key: Option<u64>,
    /// Its image: a name, or a path.
    pub image: Option<String>,
    /// Its command line.
    pub command: Option<String>,
}

/// An image in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Where it begins.
    pub base: u64,
    /// Its size in bytes.
    pub size: u64,
    /// In which process; 0 or 4 for the kernel's.
    pub pid: u32,
    /// Its file.
    pub path: String,
}

/// A service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The process it runs in; 0 when it does not run.
    pub pid: u32,
    /// Its short name.
    pub name: String,
}

/// What traffic there was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrafficKind {
    /// A connection was made from here.
    Connected,
    /// A connection was made to here.
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
    /// Over which protocol.
    pub protocol: Protocol,
    /// What.
    pub kind: TrafficKind,
    /// Whose.
    pub pid: u32,
    /// The address here.
    pub local: SocketAddr,
    /// The address there.
    pub remote: SocketAddr,
}

/// What a record says; `None` when it has no use here.
#[must_use]
pub fn decode(record: &Record<'_>) -> Option<Result<DecodedEvent, Unreadable>> {
    match record.provider {
        guid::TCPIP | guid::AFD | guid::KERNEL_PROCESS => layout::decode(record),
        // 32: an event was lost; 33: a buffer was lost.
        guid::LOST_EVENT if matches!(record.opcode, 32 | 33) => Some(Ok(DecodedEvent::Lost { count: 1 })),
        _ => mof::decode(record),
    }
}
