//! TCP sockets that are bound and nothing else. `sock_diag` lists them since Linux 6.8 only
//! (`TCPF_BOUND_INACTIVE`, net/ipv4/inet_diag.c); on older kernels they are in no list.
//!
//! The descriptors of processes lead to them. Each one is borrowed (`pidfd_getfd`, Linux 5.6), asked
//! what it is, and given back at once.

use crate::event::{NetNs, ProcessId, Protocol};
use crate::source::linux::kernel::platform;
use crate::source::linux::kernel::sock_diag::SocketRow;
use portleak_ebpf::state;
use rustc_hash::{FxHashMap, FxHashSet};
use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;

/// The first kernel whose `sock_diag` lists them.
const LISTED_SINCE: (u32, u32) = (6, 8);
/// The attribute of a socket's descriptor that names its protocol (`sockfs_xattr_handlers`,
/// net/socket.c): asking for it touches nothing.
const PROTOCOL_NAME: &CStr = c"system.sockprotoname";
/// `SIOCGSKNS`: the network namespace of a socket (include/uapi/linux/sockios.h).
const NETNS_OF_SOCKET: libc::Ioctl = 0x894c;

/// Whether this kernel's `sock_diag` leaves them out.
#[must_use]
pub fn are_unlisted() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    platform::parse_release(&release).is_some_and(|version| version < LISTED_SINCE)
}

/// Those among the sockets of `holders` that are not `listed` (both by inode number), with their
/// namespaces. What ends meanwhile or may not be looked at is left out.
#[must_use]
pub fn find(holders: &FxHashMap<u32, ProcessId>, listed: &FxHashSet<u32>) -> Vec<(NetNs, SocketRow)> {
    let mut unlisted = FxHashMap::<u32, FxHashSet<u32>>::default();
    for (inode, holder) in holders.iter().filter(|(inode, _)| !listed.contains(inode)) {
        unlisted.entry(holder.pid).or_default().insert(*inode);
    }
    unlisted.into_iter().flat_map(|(pid, inodes)| of_process(pid, inodes)).collect()
}

/// Those of one process, each once.
fn of_process(pid: u32, mut inodes: FxHashSet<u32>) -> Vec<(NetNs, SocketRow)> {
    let folder = format!("/proc/{pid}/fd");
    let Ok(descriptors) = fs::read_dir(&folder) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let mut process = None;
    for name in descriptors.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        let path = format!("{folder}/{name}");
        let is_new = inode_behind(&path).is_some_and(|inode| inodes.remove(&inode));
        if !is_new || !is_tcp(&path) {
            continue;
        }
        let process = process.get_or_insert_with(|| open_process(pid));
        let (Ok(process), Ok(number)) = (process, name.parse()) else {
            continue;
        };
        found.extend(borrow(process, number).and_then(bound_only).ok().flatten());
    }
    found
}

/// The inode number of the socket that the link `/proc/PID/fd/N` leads to.
fn inode_behind(path: &str) -> Option<u32> {
    let target = fs::read_link(path).ok()?;
    target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

fn is_tcp(path: &str) -> bool {
    let Ok(path) = CString::new(path) else {
        return false;
    };
    let mut name = [0_u8; 16];
    // SAFETY: both names end with a NUL; pointer and length are those of one array.
    let length = unsafe {
        libc::getxattr(path.as_ptr(), PROTOCOL_NAME.as_ptr(), name.as_mut_ptr().cast(), name.len())
    };
    let length = usize::try_from(length).unwrap_or_default();
    let name = name.get(..length).unwrap_or_default();
    matches!(name.strip_suffix(b"\0").unwrap_or(name), b"TCP" | b"TCPv6")
}

fn open_process(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })
}

/// A descriptor of our own for what a process's descriptor refers to.
fn borrow(process: &OwnedFd, number: RawFd) -> io::Result<File> {
    // SAFETY: no pointers; the process's descriptor is open.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), number, 0) };
    owned(fd).map(File::from)
}

/// What the socket is, if it has a port and was never more than bound.
fn bound_only(socket: File) -> io::Result<Option<(NetNs, SocketRow)>> {
    if !is_bare(&socket)? {
        return Ok(None);
    }
    let metadata = socket.metadata()?;
    let (netns, cookie) = (netns(&socket)?, cookie(&socket)?);
    let address = TcpListener::from(OwnedFd::from(socket)).local_addr()?;
    let row = SocketRow {
        cookie,
        inode: u32::try_from(metadata.ino()).map_err(io::Error::other)?,
        uid: metadata.uid(),
        protocol: Protocol::Tcp,
        state: state::BOUND,
        local: address.ip().to_canonical(),
        local_port: address.port(),
        remote: None,
        time_wait_ms: None,
    };
    Ok((row.local_port != 0).then_some((netns, row)))
}

/// Whether a TCP socket is neither connected nor listening, nor was. One whose connection has ended
/// still has the address of a port that it gave back; but it is shut down (`tcp_done`), which shows
/// as POLLRDHUP. In the state CLOSE there is POLLHUP (`tcp_poll`, net/ipv4/tcp.c).
fn is_bare(socket: &File) -> io::Result<bool> {
    let mut poll = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLRDHUP, revents: 0 };
    // SAFETY: one valid pollfd; it does not wait.
    if unsafe { libc::poll(&raw mut poll, 1, 0) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(poll.revents & (libc::POLLHUP | libc::POLLRDHUP) == libc::POLLHUP)
}

fn netns(socket: &File) -> io::Result<NetNs> {
    // SAFETY: this request takes no argument.
    let namespace = owned(unsafe { libc::ioctl(socket.as_raw_fd(), NETNS_OF_SOCKET) }.into())?;
    let inode = File::from(namespace).metadata()?.ino();
    u32::try_from(inode).map(NetNs).map_err(io::Error::other)
}

/// The socket's cookie; it gets one if it has none.
fn cookie(socket: &File) -> io::Result<u64> {
    let mut cookie = 0_u64;
    let mut bytes: libc::socklen_t = 8;
    // SAFETY: the pointer is to so many writable bytes.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut bytes,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(cookie) }
}

/// The descriptor that a system call has just made, or its error.
fn owned(result: libc::c_long) -> io::Result<OwnedFd> {
    match libc::c_int::try_from(result) {
        // SAFETY: a fresh descriptor that nothing else owns.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::linux::kernel::netns::Namespace;
    use crate::source::linux::procfs::processes;
    use std::iter;
    use std::net::{Ipv4Addr, TcpStream, UdpSocket};
    use std::path::Path;

    fn inode(fd: RawFd) -> u32 {
        inode_behind(&format!("/proc/self/fd/{fd}")).unwrap()
    }

    /// What is found when none of these sockets of ours is listed.
    fn found(sockets: &[RawFd]) -> Vec<(NetNs, SocketRow)> {
        let us = processes::id(std::process::id()).unwrap();
        let holders = sockets.iter().map(|socket| (inode(*socket), us)).collect();
        find(&holders, &FxHashSet::default())
    }

    fn bound() -> OwnedFd {
        // SAFETY: no pointers.
        let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0) };
        let socket = owned(fd.into()).unwrap();
        let address = libc::sockaddr_in {
            sin_family: libc::AF_INET.try_into().unwrap(),
            sin_port: 0,
            sin_addr: libc::in_addr { s_addr: u32::from(Ipv4Addr::LOCALHOST).to_be() },
            sin_zero: [0; 8],
        };
        // SAFETY: pointer and length are those of one address.
        let result = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), 16) };
        assert_eq!(result, 0);
        socket
    }

    #[test]
    fn a_bound_socket_is_found_with_its_address() {
        let socket = bound();
        let found = found(&[socket.as_raw_fd()]);
        let [(netns, row)] = found.as_slice() else { panic!("{found:?}") };
        let address = TcpListener::from(socket.try_clone().unwrap()).local_addr().unwrap();
        assert_eq!((row.local, row.local_port), (address.ip(), address.port()));
        assert_eq!(row.inode, inode(socket.as_raw_fd()));
        assert_eq!(row.cookie, cookie(&File::from(socket)).unwrap());
        assert_eq!(*netns, Namespace::open(Path::new("/proc/self/ns/net")).unwrap().id);
    }

    #[test]
    fn other_sockets_are_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connected = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let accepted = listener.accept().unwrap().0;
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let all = [listener.as_raw_fd(), connected.as_raw_fd(), accepted.as_raw_fd(), udp.as_raw_fd()];
        assert_eq!(found(&all), []);
    }

    #[test]
    fn a_socket_whose_connection_has_ended_gave_its_port_back() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connected = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        drop(listener); // Resets the connection that nobody accepted.
        let mut poll = libc::pollfd { fd: connected.as_raw_fd(), events: 0, revents: 0 };
        // SAFETY: one valid pollfd.
        assert_eq!(unsafe { libc::poll(&raw mut poll, 1, 5000) }, 1);
        assert!(poll.revents & libc::POLLHUP != 0);
        assert_eq!(found(&[connected.as_raw_fd()]), []);
    }

    #[test]
    fn what_is_listed_is_not_asked() {
        let socket = bound();
        let us = processes::id(std::process::id()).unwrap();
        let holders = iter::once((inode(socket.as_raw_fd()), us)).collect();
        assert_eq!(find(&holders, &iter::once(inode(socket.as_raw_fd())).collect()), []);
    }
}
