//! The benchmark's storm: connect and reset, one after another, as fast as one thread can.

use super::server;
use super::socket::reset_on_close;
use super::tally::{Report, Tally};
use anyhow::{Context, Result};
use serde::Serialize;
use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

const PORT: u16 = 9999;

#[derive(Serialize)]
struct Cost {
    connections: u32,
    seconds: f64,
    /// User and system time of the process: both ends of every connection.
    cpu_s: f64,
}

/// Runs it and says what it cost.
pub(super) fn run(connections: u32, destinations: u32) -> Result<()> {
    let listener = server::listen(SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT)))?;
    thread::spawn(move || swallow(&listener));
    let first = Ipv4Addr::LOCALHOST.to_bits();
    let mut tally = Tally::default();
    let (start, cpu_before) = (Instant::now(), cpu_time()?);
    for turn in 0..connections {
        let to = Ipv4Addr::from_bits(first + turn % destinations);
        let connection = TcpStream::connect((to, PORT)).with_context(|| format!("to {to}"))?;
        tally.took();
        reset_on_close(&connection)?;
        drop(connection);
        tally.gave();
    }
    let cost = Cost {
        connections,
        seconds: start.elapsed().as_secs_f64(),
        cpu_s: (cpu_time()? - cpu_before).as_secs_f64(),
    };
    Report::tcp(tally).with(cost).print()
}

/// Accepts one after another and waits for each to end: an echo server's epoll would cost more
/// than what is to be measured.
fn swallow(listener: &TcpListener) {
    for mut connection in listener.incoming().flatten() {
        while connection.read(&mut [0; 16]).is_ok_and(|length| length > 0) {}
    }
}

fn cpu_time() -> io::Result<Duration> {
    // SAFETY: rusage is plain data for which zeros are valid.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` is one rusage that the kernel fills.
    if unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(duration(usage.ru_utime) + duration(usage.ru_stime))
}

fn duration(time: libc::timeval) -> Duration {
    Duration::from_secs(time.tv_sec.cast_unsigned())
        + Duration::from_micros(time.tv_usec.cast_unsigned())
}
