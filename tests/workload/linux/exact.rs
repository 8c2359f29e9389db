//! Every way to take a port and give it back, so many times each.

use super::server::{PORT_V4, PORT_V6, round_trip};
use super::socket::{Family, reset_on_close, tcp_bound_only, udp_unbound};
use super::tally::{Report, Tally};
use anyhow::{Context, Result};
use clap::ValueEnum;
use portleak_tests::limits;
use std::io;
use std::net::{TcpStream, UdpSocket};

/// Where nobody listens; a datagram there is lost, which is fine.
const UDP_PORT: u16 = 7009;

/// How many of each, IPv4 and IPv6 in turn.
#[derive(clap::Args, Clone)]
pub(super) struct Plan {
    /// TCP connections.
    #[arg(long, default_value_t = 0)]
    tcp: u32,
    /// TCP sockets bound to port 0 and nothing else.
    #[arg(long, default_value_t = 0)]
    tcp_bound: u32,
    /// UDP sockets bound to port 0.
    #[arg(long, default_value_t = 0)]
    udp_bind: u32,
    /// UDP sockets that get their port by connecting.
    #[arg(long, default_value_t = 0)]
    udp_connect: u32,
    /// UDP sockets that get their port by sending.
    #[arg(long, default_value_t = 0)]
    udp_send: u32,
    /// The last so many of each stay open.
    #[arg(long, default_value_t = 0)]
    hold: u32,
    /// How TCP connections are closed.
    #[arg(long, value_enum, default_value_t = Close::Reset)]
    close: Close,
}

/// How a connection is closed.
#[derive(Clone, Copy, ValueEnum)]
enum Close {
    /// Resets; leaves no TIME_WAIT.
    Reset,
    /// As usual; leaves a TIME_WAIT.
    Fin,
}

impl Plan {
    /// The command line of a client with this plan.
    pub(super) fn arguments(&self) -> Vec<String> {
        let close = match self.close {
            Close::Reset => "reset",
            Close::Fin => "fin",
        };
        let counts = [
            ("--tcp", self.tcp),
            ("--tcp-bound", self.tcp_bound),
            ("--udp-bind", self.udp_bind),
            ("--udp-connect", self.udp_connect),
            ("--udp-send", self.udp_send),
            ("--hold", self.hold),
        ];
        let counts = counts.map(|(name, count)| format!("{name}={count}"));
        let close = format!("--close={close}");
        counts.into_iter().chain([close]).collect()
    }
}

/// Does it all, says what it did, and keeps the held ones until the observer is done.
pub(super) fn run(plan: &Plan) -> Result<()> {
    let (mut tcp, mut udp) = (Tally::default(), Tally::default());
    let close = |connection: TcpStream| match plan.close {
        Close::Reset => reset_on_close(&connection),
        Close::Fin => Ok(()),
    };
    let connected = repeat(plan.tcp, plan.hold, &mut tcp, connect, close);
    let bound = repeat(plan.tcp_bound, plan.hold, &mut tcp, tcp_bound_only, drop_it);
    let udp_bound = repeat(plan.udp_bind, plan.hold, &mut udp, udp_bind, drop_it);
    let udp_connected = repeat(plan.udp_connect, plan.hold, &mut udp, udp_connect, drop_it);
    let udp_sent = repeat(plan.udp_send, plan.hold, &mut udp, udp_send, drop_it);
    let held = (
        connected.context("TCP connect")?,
        bound.context("TCP bind")?,
        udp_bound.context("UDP bind")?,
        udp_connected.context("UDP connect")?,
        udp_sent.context("UDP send")?,
    );
    Report::both(tcp, udp).print()?;
    limits::wait_for_observer()?;
    drop(held);
    Ok(())
}

/// Opens `count` sockets and closes each, but for the last `hold`, which it returns.
fn repeat<S>(
    count: u32,
    hold: u32,
    tally: &mut Tally,
    open: impl Fn(Family) -> io::Result<S>,
    close: impl Fn(S) -> io::Result<()>,
) -> io::Result<Vec<S>> {
    let mut held = Vec::new();
    for turn in 0..count {
        let socket = open(Family::of_turn(turn))?;
        tally.took();
        if turn >= count.saturating_sub(hold) {
            held.push(socket);
        } else {
            close(socket)?;
            tally.gave();
        }
    }
    Ok(held)
}

#[expect(clippy::unnecessary_wraps, reason = "beside the other way to close, which can fail")]
fn drop_it<S>(socket: S) -> io::Result<()> {
    drop(socket);
    Ok(())
}

/// A connection that the server has accepted: its queue never overflows.
fn connect(family: Family) -> io::Result<TcpStream> {
    let port = match family {
        Family::V4 => PORT_V4,
        Family::V6 => PORT_V6,
    };
    let connection = TcpStream::connect(family.loopback(port))?;
    round_trip(&connection)?;
    Ok(connection)
}

fn udp_bind(family: Family) -> io::Result<UdpSocket> {
    UdpSocket::bind(family.loopback(0))
}

fn udp_connect(family: Family) -> io::Result<UdpSocket> {
    let socket = udp_unbound(family)?;
    socket.connect(family.loopback(UDP_PORT))?;
    Ok(socket)
}

fn udp_send(family: Family) -> io::Result<UdpSocket> {
    let socket = udp_unbound(family)?;
    socket.send_to(b"x", family.loopback(UDP_PORT))?;
    Ok(socket)
}
