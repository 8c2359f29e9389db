//! Descriptors that move between processes, and processes that end before their ports.

use super::Program;
use super::story::{SERVER, Story, server};
use crate::linux::raw::{Socket, checked};
use anyhow::{Context, Result, ensure};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

pub(super) const CASES: &[(&str, Program)] = &[
    ("exit-without-close", exit_without_close),
    ("killed", killed),
    ("fork", fork),
    ("scm-rights", scm_rights),
    ("scm-in-flight", scm_in_flight),
    ("pidfd-getfd", pidfd_getfd),
    ("dup-close-range", dup_close_range),
    ("thread", thread),
    ("thread-connects", thread_connects),
];

/// A forked process; what it runs says when to go on by one byte each way.
struct Child {
    pid: libc::pid_t,
    line: UnixStream,
}

impl Child {
    /// Forks. This program has a single thread here, so the child may do anything.
    fn fork(run: impl FnOnce(&mut UnixStream) -> Result<()>) -> Result<Self> {
        let (line, mut childs) = UnixStream::pair()?;
        // SAFETY: no other thread exists that could hold a lock in the child.
        let pid = checked(unsafe { libc::fork() })?;
        if pid == 0 {
            drop(line);
            let code = i32::from(run(&mut childs).is_err());
            // SAFETY: ends the child at once; nothing of the parent's is flushed twice.
            unsafe { libc::_exit(code) };
        }
        Ok(Self { pid, line })
    }

    fn pid(&self) -> Result<u32> {
        Ok(u32::try_from(self.pid)?)
    }

    /// What it says of its port.
    fn port(&mut self) -> Result<u16> {
        let mut port = [0; 2];
        self.line.read_exact(&mut port).context("a port of the child")?;
        Ok(u16::from_ne_bytes(port))
    }

    fn hear(&mut self) -> Result<()> {
        Ok(self.line.read_exact(&mut [0])?)
    }

    fn tell(&mut self) -> Result<()> {
        Ok(self.line.write_all(b"x")?)
    }

    /// How it ended.
    fn wait(self) -> Result<i32> {
        let mut status = 0;
        // SAFETY: `status` is writable.
        checked(unsafe { libc::waitpid(self.pid, &raw mut status, 0) })?;
        Ok(status)
    }
}

fn exit_without_close(story: &mut Story) -> Result<()> {
    // The processes tell the tracer of their end; the marker is this one's.
    ends_holding(story, || Ok(()))
}

fn killed(story: &mut Story) -> Result<()> {
    ends_holding(story, || {
        // SAFETY: kill takes numbers.
        checked(unsafe { libc::kill(libc::getpid(), libc::SIGKILL) }).map(drop)
    })
}

fn ends_holding(story: &mut Story, end: fn() -> io::Result<()>) -> Result<()> {
    let mut child = Child::fork(|line| {
        let (tcp, udp) = (Socket::tcp()?, Socket::udp()?);
        tcp.bind("127.0.0.1:0")?;
        udp.connect("127.0.0.1:7009")?;
        line.write_all(&tcp.port()?.to_ne_bytes())?;
        line.write_all(&udp.port()?.to_ne_bytes())?;
        line.read_exact(&mut [0])?;
        std::mem::forget((tcp, udp));
        end().map_err(Into::into)
    })?;
    for _ in 0..2 {
        let port = child.port()?;
        story.took_by(child.pid()?, port);
    }
    child.tell()?;
    child.wait()?;
    story.marker()
}

/// Keeps what it has inherited until it is told; the parent has closed its own by then.
fn keeper(socket: Socket) -> Result<Child> {
    let child = Child::fork(|line| {
        line.write_all(b"x")?;
        Ok(line.read_exact(&mut [0])?)
    })?;
    drop(socket);
    Ok(child)
}

/// Shows that a port outlives its first owner's descriptor: a marker, then the child's end.
fn outlive(story: &mut Story, mut child: Child) -> Result<()> {
    story.marker()?;
    child.tell()?;
    let status = child.wait()?;
    ensure!(status == 0, "the child ended with {status}");
    story.marker()
}

fn bound(story: &mut Story) -> Result<Socket> {
    let socket = Socket::udp()?;
    socket.bind("127.0.0.1:0")?;
    story.took(&socket)?;
    Ok(socket)
}

fn fork(story: &mut Story) -> Result<()> {
    let socket = bound(story)?;
    let mut child = keeper(socket)?;
    child.hear()?;
    outlive(story, child)
}

fn scm_rights(story: &mut Story) -> Result<()> {
    let (ours, theirs) = UnixStream::pair()?;
    let mut child = Child::fork(|line| {
        let _socket = receive(&theirs)?;
        line.write_all(b"x")?;
        Ok(line.read_exact(&mut [0])?)
    })?;
    let socket = bound(story)?;
    send(&ours, &socket)?;
    drop(socket);
    child.hear()?;
    outlive(story, child)
}

/// Sent and never received: nobody has it until the sockets that carry it are closed.
fn scm_in_flight(story: &mut Story) -> Result<()> {
    let (ours, theirs) = UnixStream::pair()?;
    let socket = bound(story)?;
    send(&ours, &socket)?;
    drop(socket);
    story.marker()?;
    drop((ours, theirs));
    story.marker()
}

fn pidfd_getfd(story: &mut Story) -> Result<()> {
    let socket = bound(story)?;
    let (parent, wanted) = (std::process::id(), socket.fd());
    let mut child = Child::fork(|line| {
        // SAFETY: closes the descriptor that the fork has copied; nothing else here uses it.
        unsafe { libc::close(wanted) };
        let _socket = steal(parent, wanted)?;
        line.write_all(b"x")?;
        Ok(line.read_exact(&mut [0])?)
    })?;
    child.hear()?;
    drop(socket);
    outlive(story, child)
}

fn steal(pid: u32, fd: i32) -> Result<Socket> {
    // SAFETY: pidfd_open takes numbers.
    let process = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    // SAFETY: pidfd_getfd takes numbers.
    let stolen = unsafe { libc::syscall(libc::SYS_pidfd_getfd, process, fd, 0) };
    Ok(Socket::owning(checked(i32::try_from(stolen)?)?))
}

fn dup_close_range(story: &mut Story) -> Result<()> {
    let socket = bound(story)?;
    // SAFETY: dup takes a number.
    let copy = checked(unsafe { libc::dup(socket.fd()) })?;
    drop(socket);
    story.marker()?;
    // SAFETY: closes the copy, which nothing else uses.
    checked(unsafe { libc::close_range(u32::try_from(copy)?, u32::try_from(copy)?, 0) })?;
    story.marker()
}

/// One thread takes it, another gives it back.
fn thread(story: &mut Story) -> Result<()> {
    let bind = || -> io::Result<Socket> {
        let socket = Socket::tcp()?;
        socket.bind("127.0.0.1:0").map(|()| socket)
    };
    let joined = std::thread::spawn(bind).join();
    let socket = joined.map_err(|_| anyhow::anyhow!("the thread panicked"))??;
    story.took(&socket)
}

fn thread_connects(story: &mut Story) -> Result<()> {
    let _listener = server()?;
    let connect = || -> io::Result<Socket> {
        let socket = Socket::tcp()?;
        socket.connect(SERVER).map(|()| socket)
    };
    let joined = std::thread::spawn(connect).join();
    let socket = joined.map_err(|_| anyhow::anyhow!("the thread panicked"))??;
    story.took(&socket)?;
    socket.reset_on_close()?;
    Ok(())
}

/// Room for one descriptor's control message, aligned as it must be.
#[repr(C, align(8))]
struct Control([u8; 24]);

fn send(to: &UnixStream, socket: &Socket) -> Result<()> {
    let mut control = Control([0; 24]);
    with_message(&mut control, |message| {
        // SAFETY: the buffer has room for one control message with one descriptor (24 bytes).
        unsafe {
            let head = libc::CMSG_FIRSTHDR(message);
            (*head).cmsg_level = libc::SOL_SOCKET;
            (*head).cmsg_type = libc::SCM_RIGHTS;
            (*head).cmsg_len = libc::CMSG_LEN(4) as usize;
            libc::CMSG_DATA(head).cast::<i32>().write_unaligned(socket.fd());
            libc::sendmsg(to.as_raw_fd(), message, 0)
        }
    })
}

fn receive(from: &UnixStream) -> Result<Socket> {
    let mut control = Control([0; 24]);
    let mut fd = -1;
    with_message(&mut control, |message| {
        // SAFETY: the kernel fills the buffer with one control message that holds a descriptor.
        unsafe {
            let received = libc::recvmsg(from.as_raw_fd(), message, 0);
            let head = libc::CMSG_FIRSTHDR(message);
            if received > 0 && !head.is_null() {
                fd = libc::CMSG_DATA(head).cast::<i32>().read_unaligned();
            }
            received
        }
    })?;
    ensure!(fd >= 0, "no descriptor came");
    Ok(Socket::owning(fd))
}

/// Calls with a message of one byte and room for one descriptor.
fn with_message(control: &mut Control, call: impl FnOnce(&mut libc::msghdr) -> isize) -> Result<()> {
    let mut byte = *b"x";
    let mut data = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
    // SAFETY: msghdr is plain data for which zeros are valid.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut data;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = control.0.len() as _;
    ensure!(call(&mut message) == 1, "a descriptor does not move: {}", io::Error::last_os_error());
    Ok(())
}
