//! Ports taken through io_uring: no system call of theirs is ever made.

use super::Program;
use super::pools::NOTICED;
use super::story::{SERVER, Story, if_possible, must_fail, server};
use crate::linux::raw::{Socket, sockaddr};
use crate::linux::uring::{BIND, CLOSE, CONNECT, FIXED_FILE, Operation, Ring, SEND, SOCKET, SQPOLL};
use anyhow::{Context, Result};
use portleak_tests::netns;
use std::io;

pub(super) const CASES: &[(&str, Program)] = &[
    ("uring-connect", connect_and_close),
    ("uring-connect-polled", connect_polled),
    ("uring-bind", bind_by_number),
    ("uring-send", send),
    ("uring-direct", direct),
    ("uring-direct-close", direct_close),
    ("uring-exhausted", exhausted),
    ("uring-bind-exhausted", bind_exhausted),
    ("uring-send-exhausted", send_exhausted),
];

fn ring(flags: u32) -> Result<Ring> {
    if_possible("io_uring", Ring::new(flags))
}

fn connect(ring: &Ring, socket: &Socket, to: &str) -> io::Result<i32> {
    let (address, length) = sockaddr(to)?;
    let addr = (&raw const address) as u64;
    let fd = socket.fd();
    ring.perform(&Operation { opcode: CONNECT, fd, addr, off: length.into(), ..Operation::default() })
}

fn connect_and_close(story: &mut Story) -> Result<()> {
    let (ring, _listener, client) = (ring(0)?, server()?, Socket::tcp()?);
    connect(&ring, &client, SERVER)?;
    story.took(&client)?;
    client.reset_on_close()?;
    let fd = client.fd();
    std::mem::forget(client); // The ring closes it.
    ring.perform(&Operation { opcode: CLOSE, fd, ..Operation::default() })?;
    story.marker()
}

/// A kernel thread of this process submits.
fn connect_polled(story: &mut Story) -> Result<()> {
    let (ring, _listener, client) = (ring(SQPOLL)?, server()?, Socket::tcp()?);
    connect(&ring, &client, SERVER)?;
    story.took(&client)?;
    client.reset_on_close()?;
    drop(client);
    story.marker()
}

/// What a kernel does not know, or not with these fields, it calls invalid.
fn perform(ring: &Ring, what: &str, operation: &Operation) -> Result<()> {
    let performed = ring.perform(operation).map_err(|error| match error.raw_os_error() {
        Some(libc::EINVAL) => io::Error::from_raw_os_error(libc::ENOSYS),
        _ => error,
    });
    if_possible(what, performed).map(drop)
}

/// Since Linux 6.11.
fn bind(ring: &Ring, fd: i32, flags: u8, to: &str) -> Result<()> {
    let (address, length) = sockaddr(to)?;
    let addr = (&raw const address) as u64;
    let bind = Operation { opcode: BIND, flags, fd, addr, off: length.into(), ..Operation::default() };
    perform(ring, "bind through io_uring", &bind)
}

fn bind_by_number(story: &mut Story) -> Result<()> {
    let (ring, socket) = (ring(0)?, Socket::udp()?);
    bind(&ring, socket.fd(), 0, "127.0.0.1:0")?;
    story.took(&socket)
}

fn send(story: &mut Story) -> Result<()> {
    let (ring, socket) = (ring(0)?, Socket::udp()?);
    send_by(&ring, &socket, 0)?;
    story.took(&socket)
}

/// With an address since Linux 6.0.
fn send_by(ring: &Ring, socket: &Socket, flags: i32) -> Result<()> {
    let (address, length) = sockaddr("127.0.0.1:7009")?;
    let addr = b"x".as_ptr() as u64;
    let off = (&raw const address) as u64;
    let (fd, file_index, op_flags) = (socket.fd(), length, flags.cast_unsigned());
    let send =
        Operation { opcode: SEND, fd, addr, len: 1, off, op_flags, file_index, ..Operation::default() };
    perform(ring, "sendto through io_uring", &send)
}

/// A socket in the ring's own table: no descriptor of any process refers to it. Since Linux 5.19.
fn direct_socket(story: &mut Story) -> Result<Ring> {
    let ring = ring(0)?;
    ring.add_table()?;
    let (fd, off) = (libc::AF_INET, u64::try_from(libc::SOCK_DGRAM)?);
    let open = Operation { opcode: SOCKET, fd, off, file_index: 1, ..Operation::default() };
    perform(&ring, "sockets of io_uring", &open)?;
    bind(&ring, 0, FIXED_FILE, "127.0.0.1:45555")?;
    story.took_by(std::process::id(), 45_555);
    Ok(ring)
}

/// Ends with this process, released by a worker of the kernel some time after it.
fn direct(story: &mut Story) -> Result<()> {
    let _ring = direct_socket(story)?;
    story.marker()
}

fn direct_close(story: &mut Story) -> Result<()> {
    let ring = direct_socket(story)?;
    ring.perform(&Operation { opcode: CLOSE, file_index: 1, ..Operation::default() })?;
    story.marker()
}

fn one_port_taken(story: &mut Story) -> Result<Socket> {
    netns::set("net/ipv4/ip_local_port_range", "40000 40000")?;
    let holder = Socket::udp()?;
    holder.bind("127.0.0.1:0")?;
    story.took(&holder)?;
    Ok(holder)
}

fn bind_exhausted(story: &mut Story) -> Result<()> {
    let (ring, _holder, socket) = (ring(0)?, one_port_taken(story)?, Socket::udp()?);
    must_end_with(libc::EADDRINUSE, bind(&ring, socket.fd(), 0, "127.0.0.1:0"))
}

/// Unless it is told not to wait, the ring tries a hundred times more (`io_wq_submit_work`).
fn send_exhausted(story: &mut Story) -> Result<()> {
    let (ring, _holder) = (ring(0)?, one_port_taken(story)?);
    std::thread::sleep(NOTICED);
    must_end_with(libc::EAGAIN, send_by(&ring, &Socket::udp()?, libc::MSG_DONTWAIT))
}

fn must_end_with(code: i32, performed: Result<()>) -> Result<()> {
    let error = performed.err().context("it succeeded")?;
    let found = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
    if found == Some(code) { Ok(()) } else { Err(error) }
}

fn exhausted(story: &mut Story) -> Result<()> {
    netns::set("net/ipv4/ip_local_port_range", "40000 40000")?;
    let (ring, _listener) = (ring(0)?, server()?);
    let (first, second) = (Socket::tcp()?, Socket::tcp()?);
    connect(&ring, &first, SERVER)?;
    story.took(&first)?;
    must_fail(connect(&ring, &second, SERVER), libc::EADDRNOTAVAIL)?;
    first.reset_on_close()?;
    Ok(())
}
