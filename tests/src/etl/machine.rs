//! A Windows machine as its traces show it: processes, sockets, and the events of both providers in
//! the order in which the stack writes them.
//!
//! The order is that of Microsoft's descriptions of the events; no recording with them could be had
//! (see the notes in `source::windows::model`).

use super::encode::{Release, Value, layout, payload, wide};
use super::writer::{Form, Writer, before, item, tick};
use portleak::source::windows::guid::{self, Guid};
use portleak::source::windows::layout::Field;
use portleak::source::windows::record::Record;
use std::io::{Cursor, Seek, Write};
use std::net::{Ipv4Addr, SocketAddr};

/// `STATUS_TOO_MANY_ADDRESSES`.
pub const TOO_MANY: u32 = 0xc000_0209;
const ENTER: u32 = 0;
const EXIT: u32 = 1;
const NS: f64 = 1e9;

/// A socket: its endpoint in the stack, its port, its connection.
#[derive(Clone, Copy, Debug)]
pub struct Socket {
    pub pid: u32,
    endpoint: u64,
    tcb: u64,
    pub port: u16,
    pub remote: SocketAddr,
}

pub struct Machine<W = Cursor<Vec<u8>>> {
    writer: Writer<W>,
    release: Release,
    now_ns: u64,
    /// The port that is handed out next.
    pub next_port: u16,
    next_pointer: u64,
    /// How many records there are.
    pub written: usize,
    /// Whether AFD's events are recorded.
    pub afd: bool,
    /// Whether the stack says that a bind was refused.
    pub stack_refuses: bool,
    /// Ports are acquired under another name than their endpoint's, so far away from it.
    pub acquirer_offset: u64,
    /// Ports in events 1191 to 1195 are written in the network's byte order.
    pub network_order: bool,
    /// What is attached to the events of sockets' creation.
    pub extended: Vec<u8>,
}

/// No address, and this port.
pub fn anywhere(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))
}

/// What AFD calls a socket is not what the stack calls it.
fn afd_name(endpoint: u64) -> Value {
    (endpoint + 0x10_0000_0000).into()
}

pub fn server() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(10, 0, 0, 9), 443))
}

impl Machine {
    pub fn new(release: Release) -> Self {
        Self::with(release, Form::default())
    }

    pub fn with(release: Release, form: Form) -> Self {
        Self::into(Cursor::new(Vec::new()), release, form)
    }

    pub fn end(self) -> Vec<u8> {
        self.finish().into_inner()
    }
}

impl<W: Write + Seek> Machine<W> {
    /// A machine whose trace goes into `file`.
    pub fn into(file: W, release: Release, form: Form) -> Self {
        let form = Form { build: release.build(), ..form };
        Self {
            writer: Writer::new(file, form, 4),
            release,
            now_ns: 0,
            next_port: 49_152,
            next_pointer: 0xffff_8d00_0000_1000,
            written: 0,
            afd: true,
            stack_refuses: true,
            acquirer_offset: 0,
            network_order: false,
            extended: Vec::new(),
        }
    }

    pub fn finish(self) -> W {
        self.writer.finish()
    }

    /// It is so many seconds after the beginning.
    pub fn at(&mut self, second: f64) -> &mut Self {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a test's seconds")]
        let now_ns = (second * NS) as u64;
        self.now_ns = now_ns.max(self.now_ns);
        self
    }

    fn write(&mut self, provider: Guid, id: u16, pid: u32, values: &[(Field, Value)]) {
        let Some(layout) = layout(provider, id, self.release) else {
            return;
        };
        let payload = payload(layout, values);
        self.now_ns += 1_000;
        let creates = matches!(id, 1001 | 1391);
        let extended = if creates { self.extended.clone() } else { Vec::new() };
        let record = Record {
            time: tick(self.now_ns),
            provider,
            id,
            version: layout.version,
            opcode: 0,
            pid: Some(pid),
            tid: Some(pid * 4 + 1),
            pointer: 8,
            extended: &extended,
            payload: &payload,
        };
        self.written += 1;
        self.writer.record(pid as usize % 4, &record);
    }

    /// A classic event of the kernel logger.
    pub fn classic(&mut self, provider: Guid, opcode: u8, version: u8, payload: &[u8]) {
        self.now_ns += 1_000;
        let record = Record {
            time: tick(self.now_ns),
            provider,
            id: 0,
            version,
            opcode,
            pid: None,
            tid: None,
            pointer: 8,
            extended: &[],
            payload,
        };
        self.written += 1;
        self.writer.record(0, &record);
    }

    fn tcpip(&mut self, id: u16, pid: u32, values: &[(Field, Value)]) {
        self.write(guid::TCPIP, id, pid, values);
    }

    fn afd(&mut self, id: u16, pid: u32, enter_exit: u32, status: u32, values: &[(Field, Value)]) {
        if self.afd {
            let process = 0xffff_8d77_0000_0000 + u64::from(pid) * 0x100;
            let mut all = vec![
                (Field::EnterExit, enter_exit.into()),
                (Field::Process, process.into()),
                (Field::Status, status.into()),
            ];
            all.extend_from_slice(values);
            self.write(guid::AFD, id, pid, &all);
        }
    }

    fn pointer(&mut self) -> u64 {
        self.next_pointer += 0x400;
        self.next_pointer
    }

    /// The key that all events of a process have from 2004 on.
    fn start_key(pid: u32) -> (Field, Value) {
        (Field::StartKey, (0x0003_0000_0000_0000 + u64::from(pid)).into())
    }

    /// A process that was there before.
    pub fn process(&mut self, pid: u32, image: &str) {
        self.tell_process(15, pid, before(3_600), image);
    }

    pub fn starts(&mut self, pid: u32, image: &str, seconds_before: u64) {
        self.tell_process(1, pid, before(seconds_before), image);
    }

    pub fn ends(&mut self, pid: u32) {
        self.write(guid::KERNEL_PROCESS, 2, pid, &[(Field::ProcessId, pid.into()), Self::start_key(pid)]);
    }

    fn tell_process(&mut self, id: u16, pid: u32, created: u64, image: &str) {
        let image = Value::Text(format!("\\Device\\HarddiskVolume3\\app\\{image}"));
        let values = [
            (Field::ProcessId, pid.into()),
            Self::start_key(pid),
            (Field::CreateTime, created.into()),
            (Field::ParentProcessId, 700_u32.into()),
            (Field::Image, image),
        ];
        self.write(guid::KERNEL_PROCESS, id, pid, &values);
    }

    /// `socket()`.
    fn create(&mut self, id: u16, pid: u32, header_pid: u32) -> u64 {
        let endpoint = self.pointer();
        let kind = if id == 1391 { 2_u32 } else { 1 };
        let asked = [
            (Field::ProcessIdWide, pid.into()),
            (Field::SocketType, kind.into()),
            (Field::Endpoint, afd_name(endpoint)),
        ];
        self.afd(1000, header_pid, ENTER, 0, &asked);
        let values = [
            (Field::Endpoint, endpoint.into()),
            (Field::ProcessId, pid.into()),
            (Field::AddressFamily, 2_u32.into()),
            Self::start_key(pid),
        ];
        self.tcpip(id, header_pid, &values);
        self.afd(1000, header_pid, EXIT, 0, &asked);
        endpoint
    }

    fn port(&mut self, id: u16, pid: u32, acquirer: u64, port: u16, weak: bool, original: u64) {
        let port = if self.network_order { port.swap_bytes() } else { port };
        let values = [
            (Field::PortAcquirer, acquirer.into()),
            (Field::PortNumber, port.into()),
            (Field::WeakReference, u32::from(weak).into()),
            (Field::OriginalAcquirer, original.into()),
        ];
        self.tcpip(id, pid, &values);
    }

    /// `bind()` to port 0 of a TCP socket that exists.
    fn bind(&mut self, pid: u32, endpoint: u64, port: u16) {
        self.afd(1030, pid, ENTER, 0, &[(Field::Remote, anywhere(0).into())]);
        self.port(1191, pid, endpoint + self.acquirer_offset, port, false, 0);
        self.tcpip(1008, pid, &[(Field::Endpoint, endpoint.into()), (Field::Local, anywhere(port).into())]);
        self.afd(1030, pid, EXIT, 0, &[(Field::Remote, anywhere(port).into())]);
    }

    /// A TCP socket bound to a port that Windows has chosen.
    pub fn bound(&mut self, pid: u32) -> Socket {
        self.bound_by(pid, pid)
    }

    /// As above, but for a process on whose thread it is not.
    pub fn bound_by(&mut self, pid: u32, header_pid: u32) -> Socket {
        let endpoint = self.create(1001, pid, header_pid);
        let port = self.next_port;
        self.next_port = self.next_port.checked_add(1).unwrap_or(49_152);
        self.bind(header_pid, endpoint, port);
        Socket { pid, endpoint, tcb: self.pointer(), port, remote: server() }
    }

    /// `connect()`, up to the SYN.
    pub fn connecting(&mut self, pid: u32) -> Socket {
        let socket = self.bound(pid);
        self.connect(socket);
        socket
    }

    /// Another attempt, which has another control block.
    pub fn connect_again(&mut self, socket: Socket) -> Socket {
        let socket = Socket { tcb: self.pointer(), ..socket };
        self.connect(socket);
        socket
    }

    pub fn connect(&mut self, socket: Socket) {
        let Socket { pid, endpoint, tcb, port, remote } = socket;
        self.afd(1018, pid, ENTER, 0, &[(Field::Remote, remote.into())]);
        self.port(1192, pid, tcb, port, true, endpoint);
        let ends = [(Field::Local, anywhere(port).into()), (Field::Remote, remote.into())];
        self.tcpip(
            1002,
            pid,
            &[&[(Field::Tcb, tcb.into()), (Field::State, 2_u32.into())], &ends[..]].concat(),
        );
        self.afd(1018, pid, EXIT, 0x103, &[]);
    }

    /// The connection is there; told on whatever thread the packet came in.
    pub fn connected(&mut self, pid: u32) -> Socket {
        let socket = self.connecting(pid);
        self.state(socket, 4);
        self.ended(1033, socket, 0);
        socket
    }

    fn ended(&mut self, id: u16, socket: Socket, status: u32) {
        let values = [
            (Field::Local, anywhere(socket.port).into()),
            (Field::Remote, socket.remote.into()),
            (Field::Status, status.into()),
            (Field::ProcessId, socket.pid.into()),
            (Field::Tcb, socket.tcb.into()),
            Self::start_key(socket.pid),
        ];
        self.tcpip(id, 0, &values);
    }

    /// The peer says no: the connection goes, the socket keeps its port.
    pub fn refused(&mut self, socket: Socket) {
        self.ended(1034, socket, 0xc000_0236);
        self.port(1193, 0, socket.tcb, socket.port, true, 0);
    }

    pub fn state(&mut self, socket: Socket, state: u32) {
        self.tcpip(1051, 0, &[(Field::State, state.into()), (Field::Tcb, socket.tcb.into())]);
    }

    /// `closesocket()` of a socket without a connection.
    pub fn close(&mut self, socket: Socket) {
        let Socket { pid, endpoint, port, .. } = socket;
        self.afd(1001, 4, ENTER, 0, &[]);
        self.tcpip(1009, pid, &[(Field::Endpoint, endpoint.into()), (Field::Local, anywhere(port).into())]);
        self.port(1193, pid, endpoint + self.acquirer_offset, port, false, 0);
        self.afd(1001, 4, EXIT, 0, &[]);
    }

    /// `closesocket()` of a connected socket: TIME_WAIT follows.
    pub fn close_to_time_wait(&mut self, socket: Socket) {
        self.close(socket);
        self.state(socket, 5);
        self.state(socket, 6);
        self.state(socket, 10);
    }

    pub fn time_wait_ends(&mut self, socket: Socket) {
        self.port(1193, 0, socket.tcb, socket.port, true, 0);
    }

    /// A connection that lives for so long and ends without TIME_WAIT.
    pub fn abort(&mut self, socket: Socket) {
        self.ended(1039, socket, 0);
        self.port(1193, socket.pid, socket.tcb, socket.port, true, 0);
        self.close(socket);
    }

    /// `connect()` finds no port.
    pub fn exhausted(&mut self, pid: u32) {
        let endpoint = self.create(1001, pid, pid);
        let name = (Field::Endpoint, afd_name(endpoint));
        self.afd(1018, pid, ENTER, 0, &[name.clone(), (Field::Remote, server().into())]);
        self.refused_bind(1006, pid, endpoint);
        self.afd(1018, pid, EXIT, TOO_MANY, &[name, (Field::Remote, server().into())]);
    }

    /// `bind()` to port 0 finds none; the stack says it with event `id`, if its events are recorded.
    fn refused_bind(&mut self, id: u16, pid: u32, endpoint: u64) {
        let name = (Field::Endpoint, afd_name(endpoint));
        self.afd(1030, pid, ENTER, 0, &[name.clone(), (Field::Remote, anywhere(0).into())]);
        let refused = [
            (Field::Endpoint, endpoint.into()),
            (Field::Local, anywhere(0).into()),
            (Field::Status, TOO_MANY.into()),
        ];
        if self.stack_refuses {
            self.tcpip(id, pid, &refused);
        }
        self.afd(1029, pid, EXIT, TOO_MANY, &[name]);
    }

    /// For want of free ports, one was given out that closing connections refer to.
    pub fn shared(&mut self, port: u16) {
        self.port(1195, 0, 0, port, true, 0);
    }

    pub fn udp(&mut self, pid: u32) -> Socket {
        let endpoint = self.create(1391, pid, pid);
        let port = self.next_port;
        self.next_port += 1;
        self.afd(1030, pid, ENTER, 0, &[(Field::Remote, anywhere(0).into())]);
        let bound = [
            (Field::Local, anywhere(port).into()),
            (Field::Endpoint, endpoint.into()),
            (Field::ProcessId, pid.into()),
            Self::start_key(pid),
        ];
        self.tcpip(1396, pid, &bound);
        self.afd(1030, pid, EXIT, 0, &[(Field::Remote, anywhere(port).into())]);
        Socket { pid, endpoint, tcb: 0, port, remote: server() }
    }

    pub fn close_udp(&mut self, socket: Socket) {
        let closed =
            [(Field::Local, anywhere(socket.port).into()), (Field::Endpoint, socket.endpoint.into())];
        self.tcpip(1397, 4, &closed);
    }

    pub fn udp_exhausted(&mut self, pid: u32) {
        let endpoint = self.create(1391, pid, pid);
        self.refused_bind(1394, pid, endpoint);
    }

    /// Ports are kept for someone, as event `id` says it.
    pub fn reserved(&mut self, id: u16, transport: u32, start: u16, count: u16) {
        let values = [
            (Field::Transport, transport.into()),
            (Field::StartPort, start.into()),
            (Field::NumberOfPorts, count.into()),
        ];
        self.tcpip(id, 4, &values);
    }

    /// A connection that was there before, as the trace lists it.
    pub fn found(&mut self, pid: u32, port: u16, state: u32) -> Socket {
        let socket = Socket { pid, endpoint: self.pointer(), tcb: self.pointer(), port, remote: server() };
        self.exists(socket, state);
        socket
    }

    /// A socket's connection is there, in this state.
    pub fn exists(&mut self, socket: Socket, state: u32) {
        let values = [
            (Field::Tcb, socket.tcb.into()),
            (Field::Local, anywhere(socket.port).into()),
            (Field::Remote, socket.remote.into()),
            (Field::State, state.into()),
            (Field::ProcessId, socket.pid.into()),
            Self::start_key(socket.pid),
        ];
        self.tcpip(1300, 1_000, &values);
    }

    /// A socket whose endpoint has the address of another's before it.
    pub fn bound_at(&mut self, pid: u32, before: Socket) -> Socket {
        let next = self.next_pointer;
        self.next_pointer = before.endpoint - 0x400;
        let socket = self.bound(pid);
        self.next_pointer = next;
        Socket { tcb: self.pointer(), ..socket }
    }

    /// A driver is in memory.
    pub fn driver(&mut self, base: u64, name: &str) {
        let mut payload = [base.to_le_bytes(), 0x1000_u64.to_le_bytes()].concat();
        payload.extend([0; 4 + 12 + 8 + 16]);
        payload.extend(wide(&format!("\\SystemRoot\\System32\\drivers\\{name}.sys")));
        self.classic(guid::MOF_IMAGE, 3, 3, &payload);
    }

    /// Sockets are created from this stack now, innermost first.
    pub fn stack(&mut self, addresses: &[u64]) {
        let data: Vec<_> =
            [0].iter().chain(addresses).flat_map(|address: &u64| address.to_le_bytes()).collect();
        self.extended = if addresses.is_empty() { Vec::new() } else { item(6, false, &data) };
    }
}
