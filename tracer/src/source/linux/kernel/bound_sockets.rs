//! TCP sockets that are bound and nothing else. `sock_diag` lists them since Linux 6.8 only
//! (`TCPF_BOUND_INACTIVE`, net/ipv4/inet_diag.c); on older kernels they are in no list.
//!
//! The descriptors of processes lead to them. Each one is borrowed (`pidfd_getfd`, Linux 5.6), asked
//! what it is, and given back at once.

use crate::event::{NetNs, ProcessId, Protocol};
use crate::source::linux::kernel::sock_diag::SocketRow;
use portleak_ebpf::state;
use rustc_hash::{FxHashMap, FxHashSet};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::getxattr;
use rustix::net::sockopt::socket_cookie;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use std::ffi::CStr;
use std::fs::{self, File};
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;

/// The attribute of a socket's descriptor that names its protocol (`sockfs_xattr_handlers`,
/// net/socket.c): asking for it touches nothing.
const PROTOCOL_NAME: &CStr = c"system.sockprotoname";
/// `SIOCGSKNS`: the network namespace of a socket (include/uapi/linux/sockios.h).
const NETNS_OF_SOCKET: libc::Ioctl = 0x894c;

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
    let mut name = [0_u8; 16];
    let length = getxattr(path, PROTOCOL_NAME, &mut name).unwrap_or_default();
    let name = name.get(..length).unwrap_or_default();
    matches!(name.strip_suffix(b"\0").unwrap_or(name), b"TCP" | b"TCPv6")
}

fn open_process(pid: u32) -> io::Result<OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::NotFound)?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

/// A descriptor of our own for what a process's descriptor refers to.
fn borrow(process: &OwnedFd, number: RawFd) -> io::Result<File> {
    Ok(pidfd_getfd(process, number, PidfdGetfdFlags::empty())?.into())
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
    let mut polled = [PollFd::new(socket, PollFlags::RDHUP)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut polled, Some(&now))?;
    let shown = polled[0].revents();
    Ok(shown.contains(PollFlags::HUP) && !shown.contains(PollFlags::RDHUP))
}

fn netns(socket: &File) -> io::Result<NetNs> {
    // SAFETY: this request takes no argument.
    let namespace = owned(unsafe { libc::ioctl(socket.as_raw_fd(), NETNS_OF_SOCKET) }.into())?;
    let inode = File::from(namespace).metadata()?.ino();
    u32::try_from(inode).map(NetNs).map_err(io::Error::other)
}

/// The socket's cookie; it gets one if it has none.
fn cookie(socket: &File) -> io::Result<u64> {
    Ok(socket_cookie(socket)?)
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
    use rustix::net::{self, AddressFamily, SocketType};
    use std::iter;
    use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
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
        let socket = net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        net::bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
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
        let mut polled = [PollFd::new(&connected, PollFlags::empty())];
        let patience = Timespec { tv_sec: 5, tv_nsec: 0 };
        assert_eq!(poll(&mut polled, Some(&patience)).unwrap(), 1);
        assert!(polled[0].revents().contains(PollFlags::HUP));
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
