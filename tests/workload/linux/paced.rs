//! Traffic over time, healthy and not; both ends in this process.

use super::Pace;
use super::server::{self, Manner, round_trip};
use super::socket::Family;
use super::tally::{Report, Tally};
use anyhow::Result;
use portleak_tests::limits;
use std::collections::VecDeque;
use std::io;
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

const PORT: u16 = 9999;

impl Pace {
    /// When each of the connections (or uses) is due.
    fn schedule(self) -> impl Iterator<Item = Instant> {
        let start = Instant::now();
        let step = Duration::from_secs(1) / self.per_second;
        (0..self.seconds * self.per_second).map(move |turn| start + step * turn)
    }
}

/// Connections of one process and their count.
#[derive(Default)]
struct Connections {
    open: VecDeque<TcpStream>,
    tally: Tally,
}

impl Connections {
    fn open(&mut self) -> io::Result<()> {
        let connection = TcpStream::connect(Family::V4.loopback(PORT))?;
        round_trip(&connection)?;
        self.tally.took();
        self.open.push_back(connection);
        Ok(())
    }

    /// Closes a connection and waits for the other end to do the same: until then its port is held.
    fn close_oldest(&mut self) -> io::Result<()> {
        if let Some(mut connection) = self.open.pop_front() {
            connection.shutdown(Shutdown::Write)?;
            io::copy(&mut connection, &mut io::sink())?;
            self.tally.gave();
        }
        Ok(())
    }

    fn close_all(&mut self) -> io::Result<()> {
        while !self.open.is_empty() {
            self.close_oldest()?;
        }
        Ok(())
    }
}

/// A service: so many a second, each closed after a while.
pub(super) fn steady(pace: Pace, hold: Duration) -> Result<()> {
    start_server()?;
    let mut connections = Connections::default();
    let mut closings = VecDeque::new();
    for due in pace.schedule() {
        while let Some(closing) = closings.pop_front_if(|closing| *closing <= due) {
            wait_until(closing);
            connections.close_oldest()?;
        }
        wait_until(due);
        connections.open()?;
        closings.push_back(due + hold);
    }
    for closing in closings {
        wait_until(closing);
        connections.close_oldest()?;
    }
    Report::tcp(connections.tally).print()
}

/// Never closes.
pub(super) fn leak(pace: Pace) -> Result<()> {
    start_server()?;
    let mut connections = Connections::default();
    for due in pace.schedule() {
        wait_until(due);
        connections.open()?;
    }
    stay(&connections)
}

/// A connection pool: opens its size, then only uses what it has.
pub(super) fn pool(size: u32, pace: Pace) -> Result<()> {
    start_server()?;
    let mut connections = Connections::default();
    for _ in 0..size {
        connections.open()?;
    }
    for (turn, due) in pace.schedule().enumerate() {
        wait_until(due);
        if !connections.open.is_empty() {
            round_trip(&connections.open[turn % connections.open.len()])?;
        }
    }
    stay(&connections)
}

/// A pool that grows with its load: opens so many a second, and uses all that it has every second.
pub(super) fn grow(pace: Pace) -> Result<()> {
    start_server()?;
    let mut connections = Connections::default();
    for (turn, due) in (1..).zip(pace.schedule()) {
        wait_until(due);
        connections.open()?;
        if turn % pace.per_second == 0 {
            connections.open.iter().try_for_each(round_trip)?;
        }
    }
    stay(&connections)
}

/// A job every so often that needs many connections for a while.
pub(super) fn burst(size: u32, every: Duration, hold: Duration, total: Duration) -> Result<()> {
    start_server()?;
    let mut connections = Connections::default();
    let start = Instant::now();
    let mut due = start;
    while due + hold <= start + total {
        wait_until(due);
        for _ in 0..size {
            connections.open()?;
        }
        wait_until(due + hold);
        connections.close_all()?;
        due += every.max(hold);
    }
    wait_until(start + total);
    Report::tcp(connections.tally).print()
}

/// Says what is held and holds it until the observer is done.
fn stay(connections: &Connections) -> Result<()> {
    Report::tcp(connections.tally).print()?;
    limits::wait_for_observer()
}

fn start_server() -> Result<()> {
    let listener = server::listen(Family::V4.loopback(PORT))?;
    server::in_background(vec![listener], Manner::Echo);
    Ok(())
}

fn wait_until(due: Instant) {
    thread::sleep(due.saturating_duration_since(Instant::now()));
}
