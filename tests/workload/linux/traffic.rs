//! The benchmark's traffic: much of it, over sockets whose ports were taken before.

use super::meter::Meter;
use super::socket::Family;
use super::tally::{Report, Tally};
use anyhow::Result;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

const PORT: u16 = 9999;
/// Of a datagram: a question to a name server is about as long.
const DATAGRAM: [u8; 64] = [0; 64];
const MEGABYTE: usize = 1_000_000;

/// So many a second, or as fast as it goes.
struct Pace {
    started: Instant,
    each: Duration,
    done: u32,
}

impl Pace {
    fn new(per_second: Option<u32>) -> Self {
        let each = per_second.map_or(Duration::ZERO, |rate| Duration::from_secs(1) / rate);
        Self { started: Instant::now(), each, done: 0 }
    }

    /// One more; sleeps if it is early by more than a sleep takes.
    fn step(&mut self) {
        self.done += 1;
        let early = (self.each * self.done).saturating_sub(self.started.elapsed());
        if early > Duration::from_millis(1) {
            thread::sleep(early);
        }
    }
}

/// Sends datagrams from one thread, over a socket that is not connected. What the reader
/// is too slow for is dropped by the kernel: sending is what is measured.
pub(super) fn datagrams(count: u32, per_second: Option<u32>) -> Result<()> {
    let reader = UdpSocket::bind(Family::V4.loopback(PORT))?;
    thread::spawn(move || while reader.recv(&mut [0; 64]).is_ok() {});
    let sender = UdpSocket::bind(Family::V4.loopback(0))?;
    let mut tally = Tally::default();
    tally.took();
    let meter = Meter::start()?;
    let mut pace = Pace::new(per_second);
    for _ in 0..count {
        sender.send_to(&DATAGRAM, Family::V4.loopback(PORT))?;
        pace.step();
    }
    let cost = meter.stop(count)?;
    drop(sender);
    tally.gave();
    Report::both(Tally::default(), tally).with(cost).print()
}

/// Moves bytes over one connection.
pub(super) fn stream(megabytes: u32, per_second: Option<u32>) -> Result<()> {
    let listener = TcpListener::bind(Family::V4.loopback(PORT))?;
    let mut sender = TcpStream::connect(Family::V4.loopback(PORT))?;
    let (mut reader, _) = listener.accept()?;
    let mut tally = Tally::default();
    tally.took();
    let meter = Meter::start()?;
    let reading = thread::spawn(move || {
        let mut buffer = vec![0; MEGABYTE];
        while reader.read(&mut buffer).is_ok_and(|length| length > 0) {}
    });
    let bytes = vec![0; MEGABYTE];
    let mut pace = Pace::new(per_second);
    for _ in 0..megabytes {
        sender.write_all(&bytes)?;
        pace.step();
    }
    drop(sender);
    // A reader that panicked has said so.
    let _ = reading.join();
    tally.gave();
    Report::tcp(tally).with(meter.stop(megabytes)?).print()
}
