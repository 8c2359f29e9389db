//! Sockets one system call at a time: `std::net` binds, connects and closes in bundles.

use std::io;
use std::mem::{size_of, size_of_val, zeroed};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

// include/net/tcp_states.h
pub(super) const SYN_SENT: u8 = 2;
pub(super) const CLOSED: u8 = 7;
pub(super) const CLOSE_WAIT: u8 = 8;

/// How long a socket may take to get into the state that the kernel is bringing it to.
const STATE_MAX: Duration = Duration::from_secs(5);

/// A socket that closes when it is dropped.
pub(super) struct Socket(OwnedFd);

impl Socket {
    pub(super) fn tcp() -> io::Result<Self> {
        Self::open(libc::AF_INET, libc::SOCK_STREAM, 0)
    }

    pub(super) fn tcp6() -> io::Result<Self> {
        Self::open(libc::AF_INET6, libc::SOCK_STREAM, 0)
    }

    pub(super) fn udp() -> io::Result<Self> {
        Self::open(libc::AF_INET, libc::SOCK_DGRAM, 0)
    }

    pub(super) fn udp6() -> io::Result<Self> {
        Self::open(libc::AF_INET6, libc::SOCK_DGRAM, 0)
    }

    pub(super) fn open(domain: i32, kind: i32, protocol: i32) -> io::Result<Self> {
        // SAFETY: socket takes numbers.
        let fd = checked(unsafe { libc::socket(domain, kind | libc::SOCK_CLOEXEC, protocol) })?;
        Ok(Self::owning(fd))
    }

    /// The socket behind a descriptor that the kernel has just given to this process.
    pub(super) fn owning(fd: RawFd) -> Self {
        // SAFETY: the callers pass a descriptor fresh from a system call, which nothing else owns.
        Self(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    pub(super) fn bind(&self, address: &str) -> io::Result<()> {
        let (address, length) = sockaddr(address)?;
        // SAFETY: an initialized address and its length.
        checked(unsafe { libc::bind(self.fd(), (&raw const address).cast(), length) }).map(drop)
    }

    pub(super) fn connect(&self, address: &str) -> io::Result<()> {
        let (address, length) = sockaddr(address)?;
        // SAFETY: an initialized address and its length.
        checked(unsafe { libc::connect(self.fd(), (&raw const address).cast(), length) }).map(drop)
    }

    /// `connect(AF_UNSPEC)`.
    pub(super) fn disconnect(&self) -> io::Result<()> {
        // SAFETY: sockaddr is plain data; zeros are AF_UNSPEC.
        let nowhere: libc::sockaddr = unsafe { zeroed() };
        // SAFETY: an initialized address and its length.
        checked(unsafe { libc::connect(self.fd(), &raw const nowhere, length_of(&nowhere)) }).map(drop)
    }

    pub(super) fn send_to(&self, address: &str) -> io::Result<()> {
        self.send_with(address, 0)
    }

    /// Sends a byte, with `MSG_…` flags.
    pub(super) fn send_with(&self, address: &str, flags: i32) -> io::Result<()> {
        let (address, length) = sockaddr(address)?;
        // SAFETY: one readable byte, an initialized address and its length.
        let sent = unsafe {
            libc::sendto(self.fd(), b"x".as_ptr().cast(), 1, flags, (&raw const address).cast(), length)
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    pub(super) fn listen(&self, backlog: i32) -> io::Result<()> {
        // SAFETY: listen takes numbers.
        checked(unsafe { libc::listen(self.fd(), backlog) }).map(drop)
    }

    pub(super) fn accept(&self) -> io::Result<Self> {
        // SAFETY: no address is asked for.
        let fd = unsafe {
            libc::accept4(self.fd(), std::ptr::null_mut(), std::ptr::null_mut(), libc::SOCK_CLOEXEC)
        };
        checked(fd).map(Self::owning)
    }

    pub(super) fn shut_down(&self) -> io::Result<()> {
        // SAFETY: shutdown takes numbers.
        checked(unsafe { libc::shutdown(self.fd(), libc::SHUT_WR) }).map(drop)
    }

    pub(super) fn set(&self, level: i32, name: i32, value: i32) -> io::Result<()> {
        self.set_to(level, name, &value)
    }

    /// Sets an option whose value is the plain data `T`.
    pub(super) fn set_to<T: Copy>(&self, level: i32, name: i32, value: &T) -> io::Result<()> {
        // SAFETY: `value` is readable for the length that is given with it.
        let set =
            unsafe { libc::setsockopt(self.fd(), level, name, (&raw const *value).cast(), length_of(value)) };
        checked(set).map(drop)
    }

    /// Lets `close` send a reset.
    pub(super) fn reset_on_close(&self) -> io::Result<()> {
        self.set_to(libc::SOL_SOCKET, libc::SO_LINGER, &libc::linger { l_onoff: 1, l_linger: 0 })
    }

    pub(super) fn set_nonblocking(&self) -> io::Result<()> {
        // SAFETY: F_SETFL takes numbers.
        checked(unsafe { libc::fcntl(self.fd(), libc::F_SETFL, libc::O_NONBLOCK) }).map(drop)
    }

    /// The local port as `getsockname` shows it.
    pub(super) fn port(&self) -> io::Result<u16> {
        // SAFETY: sockaddr_in6 is plain data for which zeros are valid.
        let mut address: libc::sockaddr_in6 = unsafe { zeroed() };
        let mut length = length_of(&address);
        // SAFETY: a writable address and its length. The port lies alike in both families.
        checked(unsafe { libc::getsockname(self.fd(), (&raw mut address).cast(), &raw mut length) })?;
        Ok(u16::from_be(address.sin6_port))
    }

    /// Waits until TCP has come to a state.
    pub(super) fn until(&self, state: u8) -> io::Result<()> {
        until(&format!("TCP state {state}"), || Ok(self.state()? == state))
    }

    fn state(&self) -> io::Result<u8> {
        let (mut state, mut length) = (0u8, 1);
        // SAFETY: room for one byte, the first of `struct tcp_info`: the state.
        let got = unsafe {
            libc::getsockopt(
                self.fd(),
                libc::IPPROTO_TCP,
                libc::TCP_INFO,
                (&raw mut state).cast(),
                &raw mut length,
            )
        };
        checked(got).map(|_| state)
    }

    pub(super) fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Polls until the kernel has got there.
pub(super) fn until(what: &str, mut is_so: impl FnMut() -> io::Result<bool>) -> io::Result<()> {
    let patience_ends = Instant::now() + STATE_MAX;
    while !is_so()? {
        if Instant::now() > patience_ends {
            return Err(io::Error::other(format!("waited in vain for {what}")));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// The kernel's form of an address; the length tells which of the two families' it is.
pub(super) fn sockaddr(address: &str) -> io::Result<(libc::sockaddr_in6, libc::socklen_t)> {
    // SAFETY: sockaddr_in6 is plain data for which zeros are valid.
    let mut v6: libc::sockaddr_in6 = unsafe { zeroed() };
    match address.parse().map_err(io::Error::other)? {
        SocketAddr::V6(address) => {
            v6.sin6_family = family(libc::AF_INET6)?;
            v6.sin6_port = address.port().to_be();
            v6.sin6_addr.s6_addr = address.ip().octets();
            Ok((v6, length_of(&v6)))
        }
        SocketAddr::V4(address) => {
            let v4 = libc::sockaddr_in {
                sin_family: family(libc::AF_INET)?,
                sin_port: address.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from(*address.ip()).to_be() },
                sin_zero: [0; 8],
            };
            const { assert!(size_of::<libc::sockaddr_in>() <= size_of::<libc::sockaddr_in6>()) };
            // SAFETY: the larger of the two has room for the smaller, and is aligned as strictly.
            unsafe { (&raw mut v6).cast::<libc::sockaddr_in>().write(v4) };
            Ok((v6, length_of(&v4)))
        }
    }
}

fn family(number: i32) -> io::Result<libc::sa_family_t> {
    number.try_into().map_err(io::Error::other)
}

fn length_of<T>(value: &T) -> libc::socklen_t {
    libc::socklen_t::try_from(size_of_val(value)).unwrap_or(0)
}

/// The result of a system call, or its error.
pub(super) fn checked(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
