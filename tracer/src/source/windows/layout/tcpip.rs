//! Microsoft-Windows-TCPIP: the events that bound a port's life.

use super::Field::{
    AddressFamily, Compartment, Endpoint, Length, Local, NumberOfPorts, OldState, OriginalAcquirer,
    PortAcquirer, PortNumber, ProcessId, Remote, ReservationType, RexmitCount, SndNxt, StartKey, StartPort,
    State, Status, Tcb, Transport, WeakReference,
};
use super::values::Values;
use super::{Field, Layout};
use crate::event::Protocol;
use crate::source::windows::decoded_event::{self, Connection, DecodedEvent, PortReference, Tcpip};

const PORT: &[Field] = &[PortAcquirer, PortNumber, WeakReference, OriginalAcquirer];
const BIND: &[Field] = &[Length, Local, Status];
const BIND_1: &[Field] = &[Endpoint, Length, Local, Status];
const UDP_BIND: &[Field] = &[Length, Local, Status, Endpoint];
const CONNECTION: &[Field] = &[Length, Local, Length, Remote, Status, ProcessId, Compartment, Tcb];
const CONNECTION_1: &[Field] =
    &[Length, Local, Length, Remote, Status, ProcessId, Compartment, Tcb, StartKey];
const RESERVED: &[Field] = &[ProcessId, Status, StartPort, NumberOfPorts];
const RUNDOWN: &[Field] = &[Tcb, Length, Local, Length, Remote, State, ProcessId];
const RUNDOWN_1: &[Field] = &[Tcb, Length, Local, Length, Remote, State, ProcessId, StartKey];

const fn layout(id: u16, version: u8, fields: &'static [Field]) -> Layout {
    Layout { id, version, fields }
}

pub(super) const LAYOUTS: &[Layout] = &[
    layout(1001, 0, &[Status, Endpoint, AddressFamily, ProcessId]),
    layout(1002, 0, &[Tcb, Length, Local, Length, Remote, State, RexmitCount]),
    layout(1006, 0, BIND),
    layout(1006, 1, BIND_1),
    layout(1008, 0, BIND),
    layout(1008, 1, BIND_1),
    layout(1009, 0, BIND),
    layout(1009, 1, BIND_1),
    layout(1013, 0, &[Length, Local, Status, ProcessId, Compartment, AddressFamily]),
    layout(1013, 1, &[Length, Local, Status, ProcessId, Compartment, AddressFamily, StartKey]),
    layout(1013, 2, &[Endpoint, Length, Local, Status, ProcessId, Compartment, AddressFamily, StartKey]),
    layout(1033, 0, CONNECTION),
    layout(1033, 1, CONNECTION_1),
    layout(1034, 0, CONNECTION),
    layout(1034, 1, CONNECTION_1),
    layout(1039, 0, CONNECTION),
    layout(1039, 1, CONNECTION_1),
    layout(1050, 0, CONNECTION),
    layout(1050, 1, CONNECTION_1),
    layout(1051, 0, &[OldState, State, SndNxt, Tcb]),
    layout(1054, 0, RESERVED),
    layout(1054, 1, &[ProcessId, Status, StartPort, NumberOfPorts, StartKey]),
    layout(1191, 0, PORT),
    layout(1192, 0, PORT),
    layout(1193, 0, PORT),
    layout(1194, 0, PORT),
    layout(1195, 0, PORT),
    layout(1300, 0, RUNDOWN),
    layout(1300, 1, RUNDOWN_1),
    layout(1300, 2, RUNDOWN_1),
    layout(1300, 3, RUNDOWN_1),
    layout(1391, 0, &[Endpoint, Status, ProcessId, Compartment, AddressFamily]),
    layout(1391, 1, &[Endpoint, Status, ProcessId, Compartment, AddressFamily, StartKey]),
    layout(1394, 0, UDP_BIND),
    layout(1396, 0, UDP_BIND),
    layout(1396, 1, &[Length, Local, Status, Endpoint, ProcessId, StartKey]),
    layout(1397, 0, UDP_BIND),
    layout(1398, 0, UDP_BIND),
    layout(1519, 0, &[ProcessId, Status, ReservationType, Transport, StartPort, NumberOfPorts, StartKey]),
];

/// The event `id` with these values; `id` is one of those above.
pub(super) fn event(id: u16, values: &Values) -> DecodedEvent {
    use Protocol::{Tcp, Udp};
    DecodedEvent::Tcpip(match id {
        1001 | 1013 => Tcpip::Created(Tcp, endpoint(values)),
        1002 => Tcpip::Connecting(connection(values)),
        1006 => Tcpip::BindFailed(Tcp, endpoint(values)),
        1008 => Tcpip::Bound(Tcp, endpoint(values)),
        1009 => Tcpip::Closed(Tcp, endpoint(values)),
        1033 => Tcpip::Connected(connection(values)),
        1034 => Tcpip::ConnectFailed(connection(values)),
        1039 => Tcpip::Aborted(connection(values)),
        1050 => Tcpip::ConnectNoPort(connection(values)),
        1051 => Tcpip::State { tcb: values.number(Tcb), state: values.u32(State) },
        1191 => Tcpip::Acquired(port(values)),
        1192 => Tcpip::Inherited(port(values)),
        1193 => Tcpip::Released(port(values)),
        1194 => Tcpip::Replaced(port(values)),
        1195 => Tcpip::Shared(port(values)),
        1300 => Tcpip::Exists(connection(values), values.u32(State)),
        1391 => Tcpip::Created(Udp, endpoint(values)),
        1394 => Tcpip::BindFailed(Udp, endpoint(values)),
        1396 => Tcpip::Bound(Udp, endpoint(values)),
        1397 | 1398 => Tcpip::Closed(Udp, endpoint(values)),
        _ => Tcpip::Reserved {
            status: values.u32(Status),
            transport: (id == 1519).then(|| values.u32(Transport)),
            start: values.u16(StartPort),
            count: values.u16(NumberOfPorts),
        },
    })
}

fn endpoint(values: &Values) -> decoded_event::Endpoint {
    decoded_event::Endpoint {
        endpoint: values.endpoint(),
        local: values.local,
        status: values.u32(Status),
        pid: values.u32(ProcessId),
        start_key: values.start_key(),
    }
}

fn connection(values: &Values) -> Connection {
    Connection {
        tcb: values.number(Tcb),
        local: values.local,
        remote: values.remote,
        status: values.u32(Status),
        pid: values.u32(ProcessId),
        start_key: values.start_key(),
    }
}

fn port(values: &Values) -> PortReference {
    PortReference {
        acquirer: values.number(PortAcquirer),
        port: values.u16(PortNumber),
        weak: values.number(WeakReference) != 0,
        original: values.number(OriginalAcquirer),
    }
}
