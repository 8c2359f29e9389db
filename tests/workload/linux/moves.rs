//! Connections that change hands: one process makes them, another can use them in the end, or none.

use super::server::{PORT_V4, round_trip};
use super::socket::{Family, receive_file, send_file, take_file};
use super::tally::{Report, Tally};
use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use portleak_tests::limits;
use serde::Serialize;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// How they change hands.
#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Way {
    /// The process forks and closes its own.
    ForkClose,
    /// The process forks and ends.
    Exit,
    /// The process sends them to another (SCM_RIGHTS) and closes its own.
    ScmRights,
    /// The process sends them, closes its own, and nobody receives.
    ScmInFlight,
    /// Another process takes them (pidfd_getfd), then this one closes its own.
    PidfdGetfd,
    /// The process forks; both keep them.
    Share,
}

impl Way {
    /// Its name on the command line.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::ForkClose => "fork-close",
            Self::Exit => "exit",
            Self::ScmRights => "scm-rights",
            Self::ScmInFlight => "scm-in-flight",
            Self::PidfdGetfd => "pidfd-getfd",
            Self::Share => "share",
        }
    }
}

#[derive(Serialize)]
struct Holder {
    /// Who can use them in the end.
    holder: Option<u32>,
}

/// Makes connections and lets them go. The report is the maker's, with the holder's pid.
pub(super) fn run(way: Way, connections: u32) -> Result<()> {
    let (ours, theirs) = UnixStream::pair()?;
    match way {
        Way::ForkClose => fork_close(connections),
        Way::Exit => exit(connections),
        Way::Share => share(connections),
        Way::ScmInFlight => in_flight(connections, &ours),
        Way::ScmRights => match fork()? {
            Fork::Parent(child) => {
                let made = make(connections)?;
                made.iter().try_for_each(|connection| send_file(&ours, connection))?;
                hear(&ours)?;
                drop(made);
                tell(connections, Some(child))
            }
            Fork::Child => {
                let got = (0..connections).map(|_| receive_file(&theirs));
                keep(got.collect::<io::Result<Vec<_>>>()?, &theirs)
            }
        },
        Way::PidfdGetfd => match fork()? {
            Fork::Parent(child) => {
                let made = make(connections)?;
                let numbers: Vec<u8> =
                    made.iter().flat_map(|connection| connection.as_raw_fd().to_ne_bytes()).collect();
                (&ours).write_all(&numbers)?;
                hear(&ours)?;
                drop(made);
                tell(connections, Some(child))
            }
            Fork::Child => {
                let victim = std::os::unix::process::parent_id();
                let got = (0..connections).map(|_| {
                    let mut number = [0; 4];
                    (&theirs).read_exact(&mut number)?;
                    take_file(victim, i32::from_ne_bytes(number))
                });
                keep(got.collect::<io::Result<Vec<_>>>()?, &theirs)
            }
        },
    }
}

fn fork_close(connections: u32) -> Result<()> {
    let made = make(connections)?;
    match fork()? {
        Fork::Parent(child) => {
            drop(made);
            tell(connections, Some(child))
        }
        Fork::Child => limits::wait_for_observer(),
    }
}

fn share(connections: u32) -> Result<()> {
    let _made = make(connections)?;
    match fork()? {
        Fork::Parent(_) => tell(connections, Some(std::process::id())),
        Fork::Child => limits::wait_for_observer(),
    }
}

/// The child tells of it, once its parent is gone.
fn exit(connections: u32) -> Result<()> {
    let maker = std::process::id();
    let _made = make(connections)?;
    let Fork::Child = fork()? else {
        return Ok(());
    };
    let patience_ends = Instant::now() + Duration::from_secs(10);
    while std::os::unix::process::parent_id() == maker {
        ensure!(Instant::now() < patience_ends, "process {maker} does not end");
        std::thread::sleep(Duration::from_millis(1));
    }
    let more = Holder { holder: Some(std::process::id()) };
    Report::tcp(taken(connections)).of(maker).with(more).print()?;
    limits::wait_for_observer()
}

fn in_flight(connections: u32, to: &UnixStream) -> Result<()> {
    for connection in make(connections)? {
        send_file(to, &connection)?;
    }
    tell(connections, None)
}

fn tell(connections: u32, holder: Option<u32>) -> Result<()> {
    Report::tcp(taken(connections)).with(Holder { holder }).print()?;
    limits::wait_for_observer()
}

/// Says that all has arrived, and stays.
fn keep<T>(_got: Vec<T>, to: &UnixStream) -> Result<()> {
    let mut to = to;
    to.write_all(b"x")?;
    limits::wait_for_observer()
}

fn hear(from: &UnixStream) -> Result<()> {
    let mut from = from;
    from.read_exact(&mut [0]).context("the other process to take the connections")
}

fn make(connections: u32) -> io::Result<Vec<TcpStream>> {
    let connect = |_| {
        let connection = TcpStream::connect(Family::V4.loopback(PORT_V4))?;
        round_trip(&connection)?;
        Ok(connection)
    };
    (0..connections).map(connect).collect()
}

fn taken(connections: u32) -> Tally {
    let mut tally = Tally::default();
    (0..connections).for_each(|_| tally.took());
    tally
}

enum Fork {
    Parent(u32),
    Child,
}

/// Two of this process, which has one thread.
fn fork() -> Result<Fork> {
    // SAFETY: with one thread, the child is as free in what it calls as its parent.
    match unsafe { libc::fork() } {
        0 => {
            limits::end_after(limits::LIFE_MAX);
            Ok(Fork::Child)
        }
        child => {
            let child = u32::try_from(child).map_err(|_| io::Error::last_os_error());
            Ok(Fork::Parent(child.context("forking")?))
        }
    }
}
