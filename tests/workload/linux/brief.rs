//! Many processes, one after another, that each acquire one port and end at once.

use super::tally::{Report, Tally};
use anyhow::{Context, Result, ensure};
use portleak_tests::limits;
use std::io;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

/// Of what its port is.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Transport {
    Tcp,
    Udp,
    /// Each of the two for every second process.
    Both,
}

impl Transport {
    fn is_tcp(self, turn: u32) -> bool {
        self == Self::Tcp || (self == Self::Both && turn.is_multiple_of(2))
    }
}

/// Waits until an observer is there, then starts the processes and says what they acquired.
pub(super) fn run(processes: u32, transport: Transport, per_second: Option<u32>) -> Result<()> {
    limits::wait_for_observer()?;
    let pause = per_second.map(|rate| Duration::from_secs(1) / rate);
    limits::end_after(pause.unwrap_or_default() * processes + limits::LIFE_MAX);
    let (mut tcp, mut udp) = (Tally::default(), Tally::default());
    let start = Instant::now();
    for turn in 0..processes {
        let due = start + pause.unwrap_or_default() * turn;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let is_tcp = transport.is_tcp(turn);
        in_child(|| acquire_one(is_tcp)).with_context(|| format!("process {turn}"))?;
        let tally = if is_tcp { &mut tcp } else { &mut udp };
        tally.took();
        tally.gave();
    }
    Report::both(tcp, udp).print()?;
    limits::wait_for_observer()
}

fn acquire_one(is_tcp: bool) -> io::Result<()> {
    let any = (Ipv4Addr::LOCALHOST, 0);
    if is_tcp { TcpListener::bind(any).map(drop) } else { UdpSocket::bind(any).map(drop) }
}

/// Does it in a process of its own and waits for its end.
fn in_child(work: impl FnOnce() -> io::Result<()>) -> Result<()> {
    // SAFETY: this process has one thread, so its copy may go on with any code.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let code = i32::from(work().is_err());
        // SAFETY: _exit takes a number; nothing of the parent's is flushed or run twice.
        unsafe { libc::_exit(code) };
    }
    ensure!(pid > 0, "fork: {}", io::Error::last_os_error());
    let mut status = 0;
    // SAFETY: the status is a valid integer that the kernel fills; the child is ours.
    let ended = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    ensure!(ended == pid && status == 0, "it ended with {status}: {}", io::Error::last_os_error());
    Ok(())
}
