//! A process that does one random thing after another, whether it makes sense or not.

use super::rng::Rng;
use crate::linux::raw::Socket;
use std::io;

/// A small pool, so that ports meet and now and then run out.
pub(super) const LOW: u16 = 40_000;
pub(super) const HIGH: u16 = 40_039;

/// How many sockets it keeps at most.
const SOCKETS_MAX: usize = 10;

struct Held {
    name: String,
    is_tcp: bool,
    is_v6: bool,
    socket: Socket,
}

/// The process and its sockets.
pub(super) struct Actor {
    rng: Rng,
    held: Vec<Held>,
    made: usize,
}

impl Actor {
    pub(super) fn new(rng: Rng) -> Self {
        Self { rng, held: Vec::new(), made: 0 }
    }

    /// Does something and says what.
    pub(super) fn step(&mut self) -> String {
        let full = self.held.len() >= SOCKETS_MAX;
        if self.held.is_empty() || (!full && self.rng.once_in(3)) {
            return self.open();
        }
        let which = self.rng.below(self.held.len());
        if full || self.rng.once_in(6) {
            let held = self.held.swap_remove(which);
            return format!("{} close", held.name);
        }
        let (held, rng) = (&self.held[which], &mut self.rng);
        let (what, result) = if held.is_tcp { tcp(held, rng) } else { udp(held, rng) };
        let became = result.map_or_else(|error| format!("{:?}", error.kind()), |()| "ok".to_owned());
        let port = held.socket.port().unwrap_or(0);
        format!("{} {what}: {became}, port {port}", held.name)
    }

    fn open(&mut self) -> String {
        let (is_tcp, is_v6) = (!self.rng.once_in(3), self.rng.once_in(3));
        let opened = match (is_tcp, is_v6) {
            (true, false) => Socket::tcp(),
            (true, true) => Socket::tcp6(),
            (false, false) => Socket::udp(),
            (false, true) => Socket::udp6(),
        };
        self.made += 1;
        let kind = if is_tcp { "tcp" } else { "udp" };
        let name = format!("{kind}{}#{}", if is_v6 { 6 } else { 4 }, self.made);
        let ready = opened.and_then(|socket| socket.set_nonblocking().map(|()| socket));
        match ready {
            Ok(socket) => {
                self.held.push(Held { name: name.clone(), is_tcp, is_v6, socket });
                name
            }
            Err(error) => format!("{name}: {error}"),
        }
    }
}

fn tcp(held: &Held, rng: &mut Rng) -> (String, io::Result<()>) {
    let socket = &held.socket;
    match rng.below(16) {
        0 | 1 => bind(held, 0),
        2 => bind(held, any_port(rng)),
        3 => listen(held),
        4 => ("disconnect".to_owned(), socket.disconnect()),
        5 => ("shut down".to_owned(), socket.shut_down()),
        6 | 7 => ("reset on close".to_owned(), socket.reset_on_close()),
        8 => ("reuse address".to_owned(), socket.set(libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)),
        9 => {
            let no_port = socket.set(libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1);
            ("no port at bind".to_owned(), no_port)
        }
        // To whoever may be there: a listener of any process, a bound socket, nobody.
        10 | 11 => connect(held, any_port(rng)),
        12 => connect(held, 7099),
        _ => connect(held, 7001 + u16::from(rng.once_in(2)) + u16::from(rng.once_in(2))),
    }
}

fn udp(held: &Held, rng: &mut Rng) -> (String, io::Result<()>) {
    match rng.below(8) {
        0 | 1 => bind(held, 0),
        2 => bind(held, any_port(rng)),
        3 | 4 => connect(held, 7009),
        5 => start_anew(held, rng),
        _ => send(held),
    }
}

fn any_port(rng: &mut Rng) -> u16 {
    (LOW..=HIGH).nth(rng.below(usize::from(HIGH - LOW) + 1)).unwrap_or(LOW)
}

fn loopback(held: &Held, port: u16) -> String {
    if held.is_v6 { format!("[::1]:{port}") } else { format!("127.0.0.1:{port}") }
}

fn bind(held: &Held, port: u16) -> (String, io::Result<()>) {
    (format!("bind {port}"), held.socket.bind(&loopback(held, port)))
}

fn connect(held: &Held, port: u16) -> (String, io::Result<()>) {
    (format!("connect {port}"), held.socket.connect(&loopback(held, port)))
}

fn listen(held: &Held) -> (String, io::Result<()>) {
    ("listen".to_owned(), held.socket.listen(16))
}

fn send(held: &Held) -> (String, io::Result<()>) {
    ("send".to_owned(), held.socket.send_to(&loopback(held, 7009)))
}

/// Nothing shows a UDP disconnect before the socket is used again: so it is, at once.
fn start_anew(held: &Held, rng: &mut Rng) -> (String, io::Result<()>) {
    let disconnected = held.socket.disconnect();
    let (what, result) = match rng.below(3) {
        0 => connect(held, 7010),
        1 => bind(held, 0),
        _ => send(held),
    };
    (format!("disconnect, {what}"), disconnected.and(result))
}
