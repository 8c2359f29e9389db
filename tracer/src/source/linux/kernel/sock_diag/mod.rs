//! Lists the TCP and UDP sockets of a network namespace, as `ss` does, over `NETLINK_SOCK_DIAG`.
//!
//! The kernel lists the namespace in which the netlink socket was made, and only it. A dump also
//! gives every listed socket a cookie; few have one before.
//!
//! Formats: include/uapi/linux/{netlink,sock_diag,inet_diag}.h.

mod idle;

pub use idle::Inquiry;

use crate::event::Protocol;
use crate::source::SourceError;
use portleak_ebpf::protocol;
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

/// Larger than any message: the kernel fills at most 32 KiB at once (`netlink_recvmsg`).
const RECEIVE_BYTES: usize = 256 * 1024;
/// `AF_INET`, as these messages carry it.
const INET: u8 = 2;
/// `AF_INET6`.
const INET6: u8 = 10;
/// `struct nlmsghdr`.
const HEADER_BYTES: usize = 16;
/// `struct inet_diag_msg`, without the attributes after it.
const ROW_BYTES: usize = 72;
/// `struct nlmsghdr` and `struct inet_diag_req_v2`.
const REQUEST_BYTES: usize = 72;
/// `SOCK_DIAG_BY_FAMILY`.
const BY_FAMILY: u16 = 20;
/// `NLM_F_REQUEST | NLM_F_DUMP`.
const REQUEST_DUMP: u16 = 0x301;
/// `NLMSG_ERROR`.
const ERROR: u16 = 2;
/// `NLMSG_DONE`.
const DONE: u16 = 3;
/// `NLM_F_DUMP_INTR`.
const INTERRUPTED: u16 = 0x10;
/// Every TCP state, among them `TCPF_BOUND_INACTIVE` (bit 13): the sockets that are bound and
/// nothing else, listed since 6.8. Older kernels ignore the bit.
const ALL_STATES: u32 = u32::MAX;
/// `idiag_timer` of a TIME_WAIT (`inet_twsk_diag_fill`, net/ipv4/inet_diag.c).
const TIMER_TIME_WAIT: u8 = 3;

/// One socket, as it was when the kernel listed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketRow {
    /// The socket cookie. A TIME_WAIT has that of the socket it is left from.
    pub cookie: u64,
    /// The inode of `socket:[N]` in `/proc/PID/fd`; 0 if no descriptor refers to it.
    pub inode: u32,
    /// The user who made it; 0 for a TIME_WAIT.
    pub uid: u32,
    /// Its protocol.
    pub protocol: Protocol,
    /// The kernel's number of its TCP state (include/net/tcp_states.h), which UDP sockets have too:
    /// 1 if they have a default destination, otherwise 7. TCP sockets that are bound and nothing
    /// else have 7 as well, and a TIME_WAIT may have 5 (FIN_WAIT2).
    pub state: u8,
    /// Its local address; an IPv4 address if it is mapped into IPv6.
    pub local: IpAddr,
    /// Its local port; 0 if it has none.
    pub local_port: u16,
    /// Where to, if it is connected.
    pub remote: Option<SocketAddr>,
    /// For a TIME_WAIT, which belongs to no process: milliseconds until it ends.
    pub time_wait_ms: Option<u32>,
}

/// All sockets of one namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dump {
    /// The sockets, in no order.
    pub rows: Vec<SocketRow>,
    /// Whether the kernel said that the tables changed so much meanwhile that rows may be missing.
    pub interrupted: bool,
}

/// Sockets that cannot be listed.
#[derive(Debug, thiserror::Error)]
pub enum SockDiagError {
    /// The kernel has no `inet_diag`, `tcp_diag` or `udp_diag` and cannot load it.
    #[error("the kernel cannot list {0} sockets: its {0}_diag module is missing")]
    NoModule(Protocol),
    /// The kernel refused or the netlink socket failed.
    #[error("the kernel does not list its sockets: {0}")]
    Io(#[from] io::Error),
    /// The kernel's answer ends in the middle.
    #[error("the kernel's list of sockets is not understood")]
    Malformed,
}

impl From<SockDiagError> for SourceError {
    fn from(error: SockDiagError) -> Self {
        let remedy = match error {
            SockDiagError::NoModule(_) => "load the modules: modprobe -a inet_diag tcp_diag udp_diag",
            SockDiagError::Io(_) => "run as root, and allow netlink sockets where seccomp filters them",
            SockDiagError::Malformed => "report this kernel's version",
        };
        Self { what: error.to_string(), remedy: remedy.to_owned() }
    }
}

/// Lists all sockets of some protocols in the calling thread's network namespace.
///
/// # Errors
/// When the kernel cannot list them or its answer is not understood.
pub fn dump(protocols: &[Protocol]) -> Result<Dump, SockDiagError> {
    let socket = open()?;
    let mut buffer = vec![0; RECEIVE_BYTES];
    let mut dump = Dump::default();
    for &protocol in protocols {
        for family in [INET, INET6] {
            send(&socket, &request(family, protocol))?;
            while receive(&socket, &mut buffer, protocol, &mut dump)? {}
        }
    }
    Ok(dump)
}

fn open() -> io::Result<OwnedFd> {
    let (family, flags) = (AddressFamily::NETLINK, SocketFlags::CLOEXEC);
    Ok(net::socket_with(family, SocketType::RAW, flags, Some(netlink::SOCK_DIAG))?)
}

/// Unaddressed, it goes to the kernel.
fn send(socket: &OwnedFd, request: &[u8]) -> io::Result<()> {
    net::send(socket, request, SendFlags::empty())?;
    Ok(())
}

/// Receives one batch of messages into `dump`; `false` when it was the last.
fn receive(
    socket: &OwnedFd,
    buffer: &mut [u8],
    protocol: Protocol,
    dump: &mut Dump,
) -> Result<bool, SockDiagError> {
    let length = match net::recv(socket, &mut *buffer, RecvFlags::empty()) {
        Ok((length, _)) => length,
        Err(Errno::INTR) => return Ok(true),
        Err(error) => return Err(io::Error::from(error).into()),
    };
    read_batch(buffer.get(..length).unwrap_or_default(), protocol, dump)
}

/// The request for a dump of all sockets of a protocol and a family.
fn request(family: u8, protocol: Protocol) -> [u8; REQUEST_BYTES] {
    let number = match protocol {
        Protocol::Tcp => protocol::TCP,
        Protocol::Udp => protocol::UDP,
    };
    let mut request = [0; REQUEST_BYTES];
    request[0] = 72;
    request[4..6].copy_from_slice(&BY_FAMILY.to_ne_bytes());
    request[6..8].copy_from_slice(&REQUEST_DUMP.to_ne_bytes());
    request[16] = family;
    request[17] = number;
    request[20..24].copy_from_slice(&ALL_STATES.to_ne_bytes());
    request
}

/// Reads a batch of netlink messages into `dump`; `false` when the dump ends with it.
fn read_batch(batch: &[u8], protocol: Protocol, dump: &mut Dump) -> Result<bool, SockDiagError> {
    let mut rest = batch;
    while !rest.is_empty() {
        let (message, next) = split_message(rest).ok_or(SockDiagError::Malformed)?;
        dump.interrupted |= message.flags & INTERRUPTED != 0;
        match message.kind {
            // A dump that fails part-way, or for want of a module, says so in its last message.
            ERROR | DONE => return refusal(message.payload, protocol).map_or(Ok(false), Err),
            BY_FAMILY => dump.rows.extend(decode(message.payload, protocol)?),
            _ => {}
        }
        rest = next;
    }
    Ok(true)
}

struct Message<'a> {
    kind: u16,
    flags: u16,
    payload: &'a [u8],
}

/// The first message of a batch, and what follows it.
fn split_message(batch: &[u8]) -> Option<(Message<'_>, &[u8])> {
    let length = usize::try_from(u32_at(batch, 0)?).ok()?;
    let payload = batch.get(HEADER_BYTES..length)?;
    let (kind, flags) = (u16_at(batch, 4)?, u16_at(batch, 6)?);
    // Messages begin at multiples of four; the padding of the last may be missing.
    let next = batch.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((Message { kind, flags, payload }, next))
}

/// The error that an `NLMSG_ERROR` or `NLMSG_DONE` carries, if it carries one.
fn refusal(payload: &[u8], protocol: Protocol) -> Option<SockDiagError> {
    let code = i32::from_ne_bytes(*payload.first_chunk()?);
    match code.checked_neg()? {
        0 => None,
        code if code == Errno::NOENT.raw_os_error() => Some(SockDiagError::NoModule(protocol)),
        code => Some(io::Error::from_raw_os_error(code).into()),
    }
}

/// Decodes one `struct inet_diag_msg`; `None` if it is of another family than IPv4 and IPv6.
///
/// # Errors
/// When it is too short.
pub fn decode(bytes: &[u8], protocol: Protocol) -> Result<Option<SocketRow>, SockDiagError> {
    let row: &[u8; ROW_BYTES] = bytes.first_chunk().ok_or(SockDiagError::Malformed)?;
    Ok(decode_row(row, protocol))
}

fn decode_row(row: &[u8; ROW_BYTES], protocol: Protocol) -> Option<SocketRow> {
    let family = row[0];
    // Ports and addresses are in network byte order, all else in the machine's.
    let port = |at| u16_at(row, at).map(u16::from_be);
    let (local_port, remote_port) = (port(4)?, port(6)?);
    let remote = SocketAddr::new(address(family, row, 24)?, remote_port);
    let cookie = u64::from(u32_at(row, 44)?) | u64::from(u32_at(row, 48)?) << 32;
    Some(SocketRow {
        cookie,
        inode: u32_at(row, 68)?,
        uid: u32_at(row, 64)?,
        protocol,
        state: row[1],
        local: address(family, row, 8)?,
        local_port,
        remote: (remote_port != 0).then_some(remote),
        time_wait_ms: if row[2] == TIMER_TIME_WAIT { u32_at(row, 52) } else { None },
    })
}

fn address(family: u8, row: &[u8], at: usize) -> Option<IpAddr> {
    let bytes: &[u8; 16] = row.get(at..)?.first_chunk()?;
    match family {
        INET => bytes.first_chunk::<4>().map(|v4| IpAddr::V4(Ipv4Addr::from(*v4))),
        INET6 => Some(IpAddr::V6(Ipv6Addr::from(*bytes)).to_canonical()),
        _ => None,
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::MetadataExt;
    use std::{fs, process};

    fn message(kind: u16, flags: u16, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(HEADER_BYTES + payload.len()).unwrap();
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend(payload);
        bytes
    }

    fn raw_row(family: u8, state: u8, timer: u8, local: &[u8], remote: &[u8]) -> Vec<u8> {
        let mut row = vec![0; ROW_BYTES];
        row[..3].copy_from_slice(&[family, state, timer]);
        row[4..8].copy_from_slice(&[0x9c, 0x40, 0x01, 0xbb]); // 40000 → 443
        row[8..8 + local.len()].copy_from_slice(local);
        row[24..24 + remote.len()].copy_from_slice(remote);
        row[44..48].copy_from_slice(&7u32.to_ne_bytes());
        row[48..52].copy_from_slice(&1u32.to_ne_bytes());
        row[52..56].copy_from_slice(&60_000u32.to_ne_bytes());
        row[64..68].copy_from_slice(&1000u32.to_ne_bytes());
        row[68..72].copy_from_slice(&4711u32.to_ne_bytes());
        row
    }

    #[test]
    fn a_connected_ipv4_socket() {
        let row = raw_row(INET, 1, 0, &[127, 0, 0, 1], &[192, 0, 2, 9]);
        let expected = SocketRow {
            cookie: 1 << 32 | 7,
            inode: 4711,
            uid: 1000,
            protocol: Protocol::Tcp,
            state: 1,
            local: Ipv4Addr::LOCALHOST.into(),
            local_port: 40_000,
            remote: Some("192.0.2.9:443".parse().unwrap()),
            time_wait_ms: None,
        };
        assert_eq!(decode(&row, Protocol::Tcp).unwrap(), Some(expected));
    }

    #[test]
    fn an_ipv4_address_mapped_into_ipv6_is_an_ipv4_address() {
        let mapped = Ipv4Addr::LOCALHOST.to_ipv6_mapped().octets();
        let row = decode(&raw_row(INET6, 1, 0, &mapped, &Ipv6Addr::LOCALHOST.octets()), Protocol::Udp);
        let row = row.unwrap().unwrap();
        assert_eq!(row.local, IpAddr::V4(Ipv4Addr::LOCALHOST));
        assert_eq!(row.remote, Some("[::1]:443".parse().unwrap()));
    }

    #[test]
    fn a_time_wait_has_a_time_to_live_and_an_unconnected_socket_no_destination() {
        let row = decode(&raw_row(INET, 6, 3, &[], &[]), Protocol::Tcp).unwrap().unwrap();
        assert_eq!(row.time_wait_ms, Some(60_000));
        let mut raw = raw_row(INET, 7, 0, &[], &[]);
        raw[6..8].fill(0);
        assert_eq!(decode(&raw, Protocol::Udp).unwrap().unwrap().remote, None);
    }

    #[test]
    fn odd_rows() {
        let short = decode(&[INET; ROW_BYTES - 1], Protocol::Tcp);
        assert!(matches!(short, Err(SockDiagError::Malformed)));
        let other_family = raw_row(1, 1, 0, &[], &[]);
        assert_eq!(decode(&other_family, Protocol::Tcp).unwrap(), None);
    }

    #[test]
    fn a_batch_goes_on_until_done() {
        let row = raw_row(INET, 1, 0, &[], &[]);
        let mut batch = message(BY_FAMILY, 0, &row);
        batch.extend(message(BY_FAMILY, INTERRUPTED, &row));
        let mut dump = Dump::default();
        assert!(read_batch(&batch, Protocol::Tcp, &mut dump).unwrap());
        assert_eq!((dump.rows.len(), dump.interrupted), (2, true));
        let done = message(DONE, 0, &[0; 4]);
        assert!(!read_batch(&done, Protocol::Tcp, &mut dump).unwrap());
    }

    #[test]
    fn refusals_are_told_apart() {
        let mut dump = Dump::default();
        let mut refused = |kind, code: i32| {
            let message = message(kind, 0, &code.to_ne_bytes());
            read_batch(&message, Protocol::Udp, &mut dump).unwrap_err()
        };
        assert!(matches!(
            refused(ERROR, -Errno::NOENT.raw_os_error()),
            SockDiagError::NoModule(Protocol::Udp)
        ));
        assert!(matches!(
            refused(DONE, -Errno::NOENT.raw_os_error()),
            SockDiagError::NoModule(Protocol::Udp)
        ));
        assert!(matches!(refused(ERROR, -Errno::PERM.raw_os_error()), SockDiagError::Io(_)));
    }

    #[test]
    fn a_batch_cut_short_is_malformed() {
        let whole = message(BY_FAMILY, 0, &raw_row(INET, 1, 0, &[], &[]));
        for length in 1..whole.len() {
            let read = read_batch(&whole[..length], Protocol::Tcp, &mut Dump::default());
            assert!(matches!(read, Err(SockDiagError::Malformed)), "{length}");
        }
    }

    fn find(rows: &[SocketRow], protocol: Protocol, port: u16) -> Vec<SocketRow> {
        let ours = |row: &&SocketRow| row.protocol == protocol && row.local_port == port;
        rows.iter().filter(ours).copied().collect()
    }

    #[test]
    fn this_kernel_lists_our_own_sockets() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let udp = UdpSocket::bind("[::1]:0").unwrap();
        let inode = |fd: &dyn AsRawFd| {
            let path = format!("/proc/{}/fd/{}", process::id(), fd.as_raw_fd());
            u32::try_from(fs::metadata(path).unwrap().ino()).unwrap()
        };
        let rows = dump(&[Protocol::Tcp, Protocol::Udp]).unwrap().rows;

        let local = stream.local_addr().unwrap();
        let row = find(&rows, Protocol::Tcp, local.port())[0];
        assert_eq!((row.local, row.state, row.inode), (local.ip(), 1, inode(&stream)));
        assert_eq!(row.remote, Some(listener.local_addr().unwrap()));
        assert_ne!(row.cookie, 0);

        let port = listener.local_addr().unwrap().port();
        let listening = find(&rows, Protocol::Tcp, port).into_iter().find(|row| row.state == 10);
        assert_eq!(listening.map(|row| (row.inode, row.remote)), Some((inode(&listener), None)));

        let row = find(&rows, Protocol::Udp, udp.local_addr().unwrap().port())[0];
        assert_eq!((row.local, row.state, row.inode), ("::1".parse().unwrap(), 7, inode(&udp)));
    }
}
