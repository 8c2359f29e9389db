//! Microsoft-Windows-Winsock-AFD: the requests of programs to the socket layer.

use super::Field::{
    AddressFamily, Buffer, Endpoint, EnterExit, Length, Location, Process, ProcessIdWide, Protocol, Reason,
    Remote, SocketType, Status,
};
use super::values::Values;
use super::{Field, Layout};
use crate::event;
use crate::source::windows::decoded_event::{Afd, AfdAction, DecodedEvent};

const PLAIN: &[Field] = &[EnterExit, Location, Process, Endpoint, Status];
const CONNECT: &[Field] = &[EnterExit, Location, Process, Endpoint, Buffer, Length, Status, Length, Remote];

const fn layout(id: u16, fields: &'static [Field]) -> Layout {
    Layout { id, version: 0, fields }
}

pub(super) const LAYOUTS: &[Layout] = &[
    layout(
        1000,
        &[EnterExit, Location, Process, Endpoint, AddressFamily, SocketType, Protocol, ProcessIdWide, Status],
    ),
    layout(1001, PLAIN),
    layout(1018, CONNECT),
    layout(1021, CONNECT),
    layout(1029, PLAIN),
    layout(1030, &[EnterExit, Location, Process, Endpoint, Status, Length, Remote]),
    layout(1032, &[EnterExit, Location, Process, Endpoint, Reason]),
];

/// The event `id` with these values; `id` is one of those above.
pub(super) fn event(id: u16, values: &Values) -> DecodedEvent {
    let action = match id {
        1000 => AfdAction::Create,
        1001 => AfdAction::Close,
        1018 | 1021 => AfdAction::Connect,
        1029 | 1030 => AfdAction::Bind,
        _ => AfdAction::Abort,
    };
    DecodedEvent::Afd(Afd {
        action,
        done: values.number(EnterExit) != 0,
        process: values.number(Process),
        endpoint: values.number(Endpoint),
        pid: values.u32(ProcessIdWide),
        status: values.u32(Status),
        address: values.remote,
        protocol: protocol(values.u32(SocketType), values.u32(Protocol)),
    })
}

/// The protocol of a socket (winsock2.h): `SOCK_STREAM` and `SOCK_DGRAM` with `IPPROTO_TCP` and
/// `IPPROTO_UDP`, or 0 for the default.
fn protocol(socket: u32, protocol: u32) -> Option<event::Protocol> {
    match (socket, protocol) {
        (1, 0 | 6) => Some(event::Protocol::Tcp),
        (2, 0 | 17) => Some(event::Protocol::Udp),
        _ => None,
    }
}
