//! The other end of the connections: one thread, any number of them.

use super::socket::{lengthen_queue, reset_on_close};
use super::tally::{Report, Tally};
use anyhow::{Context, Result};
use clap::ValueEnum;
use portleak_tests::limits;
use serde::Serialize;
use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::thread;

/// Where servers listen: below the ephemeral range, so that it is no business of the tracer.
pub(super) const PORT_V4: u16 = 7001;
/// The same for IPv6.
pub(super) const PORT_V6: u16 = 7002;

/// A server as a process of its own.
#[derive(clap::Args)]
pub(super) struct Role {
    #[arg(long, value_enum)]
    manner: Manner,
    /// Where to listen; port 0 lets the system choose.
    #[arg(required = true)]
    listen: Vec<SocketAddr>,
}

/// What becomes of an accepted connection.
#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Manner {
    /// Says back what it hears, until the client closes.
    Echo,
    /// Closes at once.
    Close,
    /// Resets at once.
    Reset,
}

impl Manner {
    /// Its name on the command line.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Close => "close",
            Self::Reset => "reset",
        }
    }
}

#[derive(Serialize)]
struct Listening {
    listening: Vec<SocketAddr>,
}

/// Listens, says where, and serves until its starter is gone.
pub(super) fn run(role: &Role) -> Result<()> {
    let listeners = role.listen.iter().copied().map(listen);
    let listeners = listeners.collect::<Result<Vec<_>>>()?;
    let mut tally = Tally::default();
    for _ in role.listen.iter().filter(|address| address.port() == 0) {
        tally.took();
    }
    let listening = listeners.iter().map(TcpListener::local_addr);
    let listening = listening.collect::<io::Result<_>>()?;
    in_background(listeners, role.manner);
    Report::server(tally, Listening { listening }).print()?;
    limits::wait_for_observer()
}

/// A listener with a queue long enough for a storm.
pub(super) fn listen(address: SocketAddr) -> Result<TcpListener> {
    let listener = TcpListener::bind(address).with_context(|| format!("listening on {address}"))?;
    lengthen_queue(&listener)?;
    Ok(listener)
}

/// Serves in a thread, for as long as the process lives. A server that fails takes the process
/// down: figures of a half-served client would be wrong.
#[expect(clippy::exit, clippy::print_stderr, reason = "a thread of a test program has nobody else to tell")]
pub(super) fn in_background(listeners: Vec<TcpListener>, manner: Manner) {
    thread::spawn(move || {
        let served = Server::new(listeners, manner).and_then(Server::serve);
        if let Err(error) = served {
            eprintln!("workload server: {error}");
            std::process::exit(1);
        }
    });
}

/// Says a byte to an echo server and hears it again: the server has accepted the connection.
pub(super) fn round_trip(mut connection: &TcpStream) -> io::Result<()> {
    connection.write_all(b"x")?;
    connection.read_exact(&mut [0])
}

struct Server {
    poll: Poll,
    listeners: HashMap<RawFd, TcpListener>,
    connections: HashMap<RawFd, TcpStream>,
    manner: Manner,
}

impl Server {
    fn new(listeners: Vec<TcpListener>, manner: Manner) -> io::Result<Self> {
        let poll = Poll::new()?;
        for listener in &listeners {
            listener.set_nonblocking(true)?;
            poll.watch(listener.as_raw_fd())?;
        }
        Ok(Self {
            poll,
            listeners: listeners.into_iter().map(|l| (l.as_raw_fd(), l)).collect(),
            connections: HashMap::new(),
            manner,
        })
    }

    fn serve(mut self) -> io::Result<()> {
        loop {
            for fd in self.poll.wait()? {
                if let Some(listener) = self.listeners.get(&fd) {
                    for accepted in accept_all(listener)? {
                        self.receive(accepted)?;
                    }
                } else if self.connections.get(&fd).is_some_and(|c| !echo(c)) {
                    self.connections.remove(&fd);
                }
            }
        }
    }

    fn receive(&mut self, connection: TcpStream) -> io::Result<()> {
        match self.manner {
            Manner::Echo => {
                let fd = connection.as_raw_fd();
                self.poll.watch(fd)?;
                self.connections.insert(fd, connection);
                Ok(())
            }
            Manner::Close => Ok(()),
            Manner::Reset => reset_on_close(&connection),
        }
    }
}

/// Everything in the listener's queue.
fn accept_all(listener: &TcpListener) -> io::Result<Vec<TcpStream>> {
    let mut accepted = Vec::new();
    loop {
        match listener.accept() {
            Ok((connection, _)) => accepted.push(connection),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(accepted),
            Err(error) => return Err(error),
        }
    }
}

/// Says back what was said; false once the client has closed or reset.
fn echo(mut connection: &TcpStream) -> bool {
    let mut heard = [0; 64];
    match connection.read(&mut heard) {
        Ok(0) | Err(_) => false,
        Ok(length) => connection.write_all(&heard[..length]).is_ok(),
    }
}

/// epoll(7), as little as is needed.
struct Poll(OwnedFd);

impl Poll {
    fn new() -> io::Result<Self> {
        // SAFETY: epoll_create1 takes flags.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just given this descriptor to us and to nobody else.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Tells when `fd` can be read, until it is closed.
    fn watch(&self, fd: RawFd) -> io::Result<()> {
        let mut event =
            libc::epoll_event { events: libc::EPOLLIN.cast_unsigned(), u64: u64::from(fd.cast_unsigned()) };
        // SAFETY: `event` is one epoll_event that the kernel reads.
        let added = unsafe { libc::epoll_ctl(self.0.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &raw mut event) };
        if added == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Waits for descriptors that can be read.
    fn wait(&self) -> io::Result<Vec<RawFd>> {
        const BATCH: u16 = 256;
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; BATCH as usize];
        // SAFETY: the kernel writes at most BATCH events, which is the length of `events`.
        let ready = unsafe {
            libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), libc::c_int::from(BATCH), -1)
        };
        let Ok(ready) = usize::try_from(ready) else {
            return Err(io::Error::last_os_error());
        };
        let fds = events[..ready].iter().map(|event| RawFd::try_from(event.u64));
        fds.collect::<Result<_, _>>().map_err(io::Error::other)
    }
}
