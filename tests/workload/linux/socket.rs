//! What `std::net` cannot do: sockets that are not bound yet, resets, a longer queue.

use std::io;
use std::mem::size_of_val;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::ptr;

/// The address family.
#[derive(Clone, Copy)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    /// IPv4 first, then in turn.
    pub(super) fn of_turn(turn: u32) -> Self {
        if turn.is_multiple_of(2) { Self::V4 } else { Self::V6 }
    }

    /// This family's loopback address with a port.
    pub(super) fn loopback(self, port: u16) -> SocketAddr {
        let ip = match self {
            Self::V4 => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Self::V6 => IpAddr::V6(Ipv6Addr::LOCALHOST),
        };
        SocketAddr::new(ip, port)
    }

    fn domain(self) -> libc::c_int {
        match self {
            Self::V4 => libc::AF_INET,
            Self::V6 => libc::AF_INET6,
        }
    }
}

/// A UDP socket without a port, unlike what `UdpSocket::bind` returns.
pub(super) fn udp_unbound(family: Family) -> io::Result<std::net::UdpSocket> {
    Ok(open(family, libc::SOCK_DGRAM)?.into())
}

/// A TCP socket on a port that the system chose, neither connected nor listening.
pub(super) fn tcp_bound_only(family: Family) -> io::Result<OwnedFd> {
    let socket = open(family, libc::SOCK_STREAM)?;
    match family {
        Family::V4 => bind(&socket, &loopback_v4()?)?,
        Family::V6 => bind(&socket, &loopback_v6()?)?,
    }
    Ok(socket)
}

/// Lets `close` send a reset instead of a FIN: no TIME_WAIT, the port is free at once.
pub(super) fn reset_on_close(socket: &impl AsFd) -> io::Result<()> {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: `linger` is what SO_LINGER reads, with its own size.
    checked(unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            length_of(&linger),
        )
    })
}

/// Asks for the longest queue of connections; `std` stops at 128.
pub(super) fn lengthen_queue(listener: &TcpListener) -> io::Result<()> {
    // SAFETY: listen takes numbers; on a listening socket it only changes the length.
    checked(unsafe { libc::listen(listener.as_raw_fd(), 65_535) })
}

/// Keeps the socket open in the program that this process becomes.
pub(super) fn survive_exec(socket: &impl AsFd) -> io::Result<()> {
    // SAFETY: F_SETFD takes numbers; no other flag of a descriptor exists.
    checked(unsafe { libc::fcntl(socket.as_fd().as_raw_fd(), libc::F_SETFD, 0) })
}

/// One control message with one descriptor, aligned as the kernel wants it.
#[repr(C)]
struct Rights {
    header: libc::cmsghdr,
    fd: RawFd,
}

/// Sends a descriptor (SCM_RIGHTS).
pub(super) fn send_file(to: &UnixStream, file: &impl AsRawFd) -> io::Result<()> {
    let mut rights = rights(file.as_raw_fd());
    let mut byte = [0_u8];
    // SAFETY: the message's pointers are those of `rights` and of one byte, which outlive the call.
    let sent =
        with_message(&mut rights, &mut byte, |message| unsafe { libc::sendmsg(to.as_raw_fd(), message, 0) });
    if sent == 1 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Receives a descriptor (SCM_RIGHTS).
pub(super) fn receive_file(from: &UnixStream) -> io::Result<OwnedFd> {
    let mut rights = rights(-1);
    let mut byte = [0_u8];
    // SAFETY: as above; the kernel writes within the lengths given.
    let received = with_message(&mut rights, &mut byte, |message| unsafe {
        libc::recvmsg(from.as_raw_fd(), message, 0)
    });
    if received != 1 || rights.fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given this descriptor to us and to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(rights.fd) })
}

fn rights(fd: RawFd) -> Rights {
    // SAFETY: cmsghdr is plain data for which zeros are valid.
    let mut header: libc::cmsghdr = unsafe { std::mem::zeroed() };
    header.cmsg_len = size_of::<libc::cmsghdr>() + size_of::<RawFd>();
    (header.cmsg_level, header.cmsg_type) = (libc::SOL_SOCKET, libc::SCM_RIGHTS);
    Rights { header, fd }
}

fn with_message(
    rights: &mut Rights,
    byte: &mut [u8; 1],
    call: impl FnOnce(*mut libc::msghdr) -> libc::ssize_t,
) -> libc::ssize_t {
    let mut part = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
    // SAFETY: msghdr is plain data for which zeros are valid.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    (message.msg_iov, message.msg_iovlen) = (&raw mut part, 1);
    (message.msg_control, message.msg_controllen) = (ptr::from_mut(rights).cast(), size_of::<Rights>());
    call(&raw mut message)
}

/// Takes a copy of another process's descriptor (pidfd_getfd, since 5.6).
pub(super) fn take_file(pid: u32, number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open takes numbers.
    let process = owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: pidfd_getfd takes numbers.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), number, 0) })
}

fn owned(result: libc::c_long) -> io::Result<OwnedFd> {
    let fd = RawFd::try_from(result).ok().filter(|fd| *fd >= 0);
    let fd = fd.ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the kernel has just given this descriptor to us and to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn open(family: Family, kind: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: socket takes numbers.
    let fd = unsafe { libc::socket(family.domain(), kind | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given this descriptor to us and to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn bind<A>(socket: &OwnedFd, address: &A) -> io::Result<()> {
    // SAFETY: `address` is a sockaddr_in or sockaddr_in6 with its own size.
    checked(unsafe { libc::bind(socket.as_raw_fd(), (&raw const *address).cast(), length_of(address)) })
}

fn loopback_v4() -> io::Result<libc::sockaddr_in> {
    // SAFETY: sockaddr_in is plain data for which zeros are valid.
    let mut address: libc::sockaddr_in = unsafe { std::mem::zeroed() };
    address.sin_family = libc::AF_INET.try_into().map_err(io::Error::other)?;
    address.sin_addr.s_addr = u32::from(Ipv4Addr::LOCALHOST).to_be();
    Ok(address)
}

fn loopback_v6() -> io::Result<libc::sockaddr_in6> {
    // SAFETY: sockaddr_in6 is plain data for which zeros are valid.
    let mut address: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
    address.sin6_family = libc::AF_INET6.try_into().map_err(io::Error::other)?;
    address.sin6_addr.s6_addr = Ipv6Addr::LOCALHOST.octets();
    Ok(address)
}

fn length_of<T>(value: &T) -> libc::socklen_t {
    libc::socklen_t::try_from(size_of_val(value)).unwrap_or(0)
}

fn checked(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
