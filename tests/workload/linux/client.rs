//! One client process: takes ports in one way, says so, stays until it is dismissed.

use super::exact;
use super::moves::{self, Way};
use super::random;
use super::server::{PORT_V4, round_trip};
use super::socket::{Family, survive_exec};
use super::tally::{Report, Tally};
use anyhow::{Context, Result, ensure};
use clap::{Subcommand, ValueEnum};
use portleak_tests::limits;
use serde::Serialize;
use std::fs;
use std::io::{ErrorKind, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

/// What a client process does.
#[derive(Subcommand)]
pub(super) enum Role {
    /// Everything in turn.
    Exact(exact::Plan),
    /// Connects and keeps.
    Hold {
        #[arg(long)]
        to: SocketAddrV4,
        /// Over so many addresses, from that one upwards.
        #[arg(long, value_parser = clap::value_parser!(u8).range(1..))]
        spread: u8,
        #[arg(long)]
        connections: u32,
        #[arg(long, value_enum)]
        then: Then,
    },
    /// Connects, is reset, does not close.
    Reset {
        #[arg(long)]
        connections: u32,
    },
    /// Gives its connections away.
    Move {
        #[arg(value_enum)]
        way: Way,
        #[arg(long)]
        connections: u32,
    },
    /// Closes before the server does.
    TimeWait {
        #[arg(long)]
        connections: u32,
    },
    /// Does not close although the server did.
    CloseWait {
        #[arg(long)]
        connections: u32,
    },
    /// Connects although no port may be left.
    Exhaust {
        #[arg(long)]
        connections: u32,
    },
    /// Does what the dice say, some steps at a time.
    Random {
        #[arg(long)]
        seed: u64,
        #[arg(long)]
        steps: u32,
    },
}

/// What a client does once it holds its connections.
#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Then {
    /// Stays until it is dismissed.
    Wait,
    /// Ends without closing.
    Exit,
    /// Becomes `cat`, which ends when its standard input does.
    Exec,
}

#[derive(Serialize)]
struct TimeWaits {
    time_wait: u32,
}

#[derive(Serialize)]
struct Failures {
    #[serde(rename = "EADDRNOTAVAIL")]
    address_not_available: u32,
}

#[derive(Serialize)]
struct Failed {
    failed: Failures,
}

/// Plays the role.
pub(super) fn run(role: Role) -> Result<()> {
    match role {
        Role::Exact(plan) => exact::run(&plan),
        Role::Hold { to, spread, connections, then } => hold(to, spread, connections, then),
        Role::Reset { connections } => reset(connections),
        Role::Move { way, connections } => moves::run(way, connections),
        Role::TimeWait { connections } => time_wait(connections),
        Role::CloseWait { connections } => close_wait(connections),
        Role::Exhaust { connections } => exhaust(connections),
        Role::Random { seed, steps } => random::play(seed, steps),
    }
}

fn hold(to: SocketAddrV4, spread: u8, connections: u32, then: Then) -> Result<()> {
    let mut tally = Tally::default();
    let mut held = Vec::new();
    for turn in 0..connections {
        let connection = TcpStream::connect(nth_address(to, turn % u32::from(spread)))?;
        round_trip(&connection)?;
        tally.took();
        held.push(connection);
    }
    if let Then::Exec = then {
        held.iter().try_for_each(survive_exec)?;
    }
    Report::tcp(tally).print()?;
    match then {
        Then::Wait => limits::wait_for_observer()?,
        Then::Exit => held.into_iter().for_each(std::mem::forget),
        Then::Exec => Err(Command::new("cat").exec()).context("becoming cat")?,
    }
    Ok(())
}

/// 127.0.0.1, 127.0.0.2, …: each destination has all ports for itself.
fn nth_address(first: SocketAddrV4, n: u32) -> SocketAddr {
    let ip = Ipv4Addr::from_bits(first.ip().to_bits() + n);
    SocketAddr::new(IpAddr::V4(ip), first.port())
}

/// The port is free as soon as the reset is here, whatever becomes of the descriptor.
fn reset(connections: u32) -> Result<()> {
    let mut tally = Tally::default();
    let mut open = Vec::new();
    for _ in 0..connections {
        let outcome = TcpStream::connect(Family::V4.loopback(PORT_V4)).and_then(|mut connection| {
            let outcome = connection.read(&mut [0]);
            open.push(connection);
            outcome
        });
        ensure!(
            outcome.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset),
            "the server did not reset"
        );
        tally.took();
        tally.gave();
    }
    Report::tcp(tally).print()?;
    limits::wait_for_observer()?;
    drop(open);
    Ok(())
}

fn close_wait(connections: u32) -> Result<()> {
    let mut tally = Tally::default();
    let mut held = Vec::new();
    for _ in 0..connections {
        let mut connection = TcpStream::connect(Family::V4.loopback(PORT_V4))?;
        ensure!(connection.read(&mut [0])? == 0, "the server did not close but spoke");
        tally.took();
        held.push(connection);
    }
    Report::tcp(tally).print()?;
    limits::wait_for_observer()?;
    drop(held);
    Ok(())
}

fn time_wait(connections: u32) -> Result<()> {
    let mut tally = Tally::default();
    for _ in 0..connections {
        let connection = TcpStream::connect(Family::V4.loopback(PORT_V4))?;
        round_trip(&connection)?;
        tally.took();
        drop(connection);
        tally.gave();
    }
    wait_for_time_waits(connections)?;
    let time_wait = connections;
    Report::tcp(tally).with(TimeWaits { time_wait }).print()?;
    limits::wait_for_observer()
}

/// Until the kernel lists them all: the last server may still be about to close.
fn wait_for_time_waits(expected: u32) -> Result<()> {
    let patience_ends = Instant::now() + Duration::from_secs(10);
    loop {
        let listed = count_time_waits(PORT_V4)?;
        if listed == expected as usize {
            return Ok(());
        }
        ensure!(Instant::now() < patience_ends, "{listed} connections in TIME_WAIT, expected {expected}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Rows of `/proc/net/tcp` in state 6 (TIME_WAIT) towards that port.
fn count_time_waits(remote_port: u16) -> Result<usize> {
    let remote = format!(":{remote_port:04X}");
    let table = fs::read_to_string("/proc/self/net/tcp")?;
    let rows = table.lines().map(str::split_whitespace);
    let found = rows.filter(|row| {
        let mut columns = row.clone().skip(2);
        columns.next().is_some_and(|it| it.ends_with(&remote)) && columns.next() == Some("06")
    });
    Ok(found.count())
}

fn exhaust(attempts: u32) -> Result<()> {
    let mut tally = Tally::default();
    let mut held = Vec::new();
    let mut address_not_available = 0;
    for _ in 0..attempts {
        match TcpStream::connect(Family::V4.loopback(PORT_V4)) {
            Ok(connection) => {
                tally.took();
                held.push(connection);
            }
            Err(error) if error.kind() == ErrorKind::AddrNotAvailable => address_not_available += 1,
            Err(error) => return Err(error).context("neither connected nor out of ports"),
        }
    }
    let failed = Failures { address_not_available };
    Report::tcp(tally).with(Failed { failed }).print()?;
    limits::wait_for_observer()?;
    drop(held);
    Ok(())
}
