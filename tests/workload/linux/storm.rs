//! The benchmark's storm: connect and reset, one after another, as fast as one thread can.

use super::meter::Meter;
use super::server;
use super::socket::reset_on_close;
use super::tally::{Report, Tally};
use anyhow::{Context, Result};
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;

const PORT: u16 = 9999;

/// Runs it and says what it cost.
pub(super) fn run(connections: u32, destinations: u32) -> Result<()> {
    let listener = server::listen(SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT)))?;
    thread::spawn(move || swallow(&listener));
    let first = Ipv4Addr::LOCALHOST.to_bits();
    let mut tally = Tally::default();
    let meter = Meter::start()?;
    for turn in 0..connections {
        let to = Ipv4Addr::from_bits(first + turn % destinations);
        let connection = TcpStream::connect((to, PORT)).with_context(|| format!("to {to}"))?;
        tally.took();
        reset_on_close(&connection)?;
        drop(connection);
        tally.gave();
    }
    Report::tcp(tally).with(meter.stop(connections)?).print()
}

/// Accepts one after another and waits for each to end: an echo server's epoll would cost more
/// than what is to be measured.
fn swallow(listener: &TcpListener) {
    for mut connection in listener.incoming().flatten() {
        while connection.read(&mut [0; 16]).is_ok_and(|length| length > 0) {}
    }
}
