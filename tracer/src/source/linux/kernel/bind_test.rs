//! Whether an address is local: whether the kernel lets a socket be bound to it.

use crate::event::Protocol;
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

/// Whether the calling thread's namespace lets a socket be bound to `address`.
#[must_use]
pub fn is_local(protocol: Protocol, address: IpAddr) -> bool {
    match bind(protocol, address) {
        Ok(()) => true,
        // An address of a link needs to know the link, which is no matter of the address.
        Err(error) => error == Errno::INVAL,
    }
}

/// Binds a socket to an address and to no port: `__inet_bind` (net/ipv4/af_inet.c) and
/// `__inet6_bind` (net/ipv6/af_inet6.c) check the one and leave out the other.
fn bind(protocol: Protocol, address: IpAddr) -> Result<(), Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let kind = match protocol {
        Protocol::Tcp => SocketType::STREAM,
        Protocol::Udp => SocketType::DGRAM,
    };
    let socket = net::socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    leave_out_port(&socket)?;
    net::bind(&socket, &SocketAddr::new(address, 0))
}

/// `IP_BIND_ADDRESS_NO_PORT`, which IPv6 sockets take, too.
fn leave_out_port(socket: &OwnedFd) -> Result<(), Errno> {
    let on: libc::c_int = 1;
    let (fd, option) = (socket.as_raw_fd(), libc::IP_BIND_ADDRESS_NO_PORT);
    // SAFETY: an initialized int and its length.
    let set = unsafe { libc::setsockopt(fd, libc::IPPROTO_IP, option, (&raw const on).cast(), 4) };
    if set < 0 {
        Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::INVAL))
    } else {
        Ok(())
    }
}
