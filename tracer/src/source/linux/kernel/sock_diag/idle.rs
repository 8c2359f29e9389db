//! For how long a TCP connection has moved no data, as `ss -i` shows it.

use super::{
    BY_FAMILY, ERROR, INET, INET6, REQUEST_BYTES, ROW_BYTES, SockDiagError, decode, open, refusal, send,
    split_message, u16_at, u32_at,
};
use crate::event::Protocol;
use rustix::io::Errno;
use rustix::net::{self, RecvFlags};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// `NLM_F_REQUEST`.
const REQUEST: u16 = 1;
/// `INET_DIAG_INFO`: an attribute with `struct tcp_info` (include/uapi/linux/tcp.h).
const INFO: u16 = 2;
const LAST_DATA_SENT_AT: usize = 44;
const LAST_DATA_RECEIVED_AT: usize = 52;
/// Room for one socket and its attributes.
const ANSWER_BYTES: usize = 4_096;

/// Asks about single connections of the calling thread's network namespace.
#[derive(Debug)]
pub struct Inquiry {
    socket: OwnedFd,
}

impl Inquiry {
    /// Begins.
    ///
    /// # Errors
    /// When the kernel gives no netlink socket.
    pub fn open() -> io::Result<Self> {
        open().map(|socket| Self { socket })
    }

    /// Since when nothing was sent nor received on a connection, established if nothing ever was.
    /// `None` if there is none with these ends and this cookie any more.
    ///
    /// # Errors
    /// When the kernel does not answer, or its answer is not understood.
    pub fn idle(
        &self,
        cookie: u64,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Result<Option<Duration>, SockDiagError> {
        send(&self.socket, &request(cookie, local, remote))?;
        let mut buffer = [0; ANSWER_BYTES];
        let received = net::recv(&self.socket, &mut buffer, RecvFlags::empty()).map_err(io::Error::from)?;
        let (length, _) = received;
        answer(buffer.get(..length).unwrap_or_default(), cookie)
    }
}

fn request(cookie: u64, local: SocketAddr, remote: SocketAddr) -> [u8; REQUEST_BYTES] {
    let mut request = [0; REQUEST_BYTES];
    request[0] = 72;
    request[4..6].copy_from_slice(&BY_FAMILY.to_ne_bytes());
    request[6..8].copy_from_slice(&REQUEST.to_ne_bytes());
    request[16] = if local.is_ipv4() { INET } else { INET6 };
    request[17] = 6;
    request[18] = 1 << (INFO - 1);
    request[20..24].fill(0xff);
    request[24..26].copy_from_slice(&local.port().to_be_bytes());
    request[26..28].copy_from_slice(&remote.port().to_be_bytes());
    put_address(&mut request[28..44], local.ip());
    put_address(&mut request[44..60], remote.ip());
    request[64..72].copy_from_slice(&cookie.to_ne_bytes());
    request
}

fn put_address(to: &mut [u8], address: IpAddr) {
    match address {
        IpAddr::V4(v4) => to[..4].copy_from_slice(&v4.octets()),
        IpAddr::V6(v6) => to.copy_from_slice(&v6.octets()),
    }
}

fn answer(bytes: &[u8], cookie: u64) -> Result<Option<Duration>, SockDiagError> {
    let (message, _) = split_message(bytes).ok_or(SockDiagError::Malformed)?;
    match message.kind {
        BY_FAMILY => {
            let row = decode(message.payload, Protocol::Tcp)?;
            let same = row.is_some_and(|row| row.cookie == cookie && row.time_wait_ms.is_none());
            Ok(if same { info(message.payload).and_then(idle) } else { None })
        }
        ERROR => match refusal(message.payload, Protocol::Tcp) {
            // Gone, or of another socket by now (`inet_diag_find_one_icsk`).
            Some(SockDiagError::NoModule(_)) | None => Ok(None),
            Some(error) if is_stale(&error) => Ok(None),
            Some(error) => Err(error),
        },
        _ => Err(SockDiagError::Malformed),
    }
}

fn is_stale(error: &SockDiagError) -> bool {
    matches!(error, SockDiagError::Io(error) if Errno::from_io_error(error) == Some(Errno::STALE))
}

/// The `struct tcp_info` among the attributes after a row.
fn info(payload: &[u8]) -> Option<&[u8]> {
    let mut attributes = payload.get(ROW_BYTES..)?;
    loop {
        let length = usize::from(u16_at(attributes, 0)?);
        let value = attributes.get(4..length)?;
        if u16_at(attributes, 2)? == INFO {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

fn idle(info: &[u8]) -> Option<Duration> {
    let millis = u32_at(info, LAST_DATA_SENT_AT)?.min(u32_at(info, LAST_DATA_RECEIVED_AT)?);
    Some(Duration::from_millis(millis.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::linux::kernel::sock_diag::dump;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::thread::sleep;

    fn cookie(stream: &TcpStream) -> u64 {
        let local = stream.local_addr().unwrap();
        let rows = dump(&[Protocol::Tcp]).unwrap().rows;
        let ours = |row: &&super::super::SocketRow| {
            row.local == local.ip() && row.local_port == local.port() && row.remote.is_some()
        };
        rows.iter().find(ours).unwrap().cookie
    }

    #[test]
    fn a_connection_is_idle_from_its_last_byte_on() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (mut peer, _) = listener.accept().unwrap();
            let (local, remote) = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
            let (inquiry, cookie) = (Inquiry::open().unwrap(), cookie(&stream));
            let idle = || inquiry.idle(cookie, local, remote).unwrap().unwrap();

            sleep(Duration::from_millis(60));
            let unused = idle();
            assert!(unused >= Duration::from_millis(50), "{unused:?}");
            peer.write_all(b"x").unwrap();
            stream.read_exact(&mut [0]).unwrap();
            assert!(idle() < unused);
            assert!(inquiry.idle(cookie + 1, local, remote).unwrap().is_none(), "another socket");
            drop((stream, peer));
            assert!(inquiry.idle(cookie, remote, local).unwrap().is_none());
        }
    }

    #[test]
    fn answers_cut_short_are_no_answers() {
        let mut payload = vec![0; ROW_BYTES];
        payload[0] = INET;
        payload[44] = 9;
        payload.extend([60 + 4, 0, 2, 0]);
        payload.extend((0..60_u8).map(|byte| byte / 4));
        let mut message = u32::try_from(16 + payload.len()).unwrap().to_ne_bytes().to_vec();
        message.extend(BY_FAMILY.to_ne_bytes());
        message.extend([0; 10]);
        message.extend(payload);
        let millis = u32::from_ne_bytes([11; 4]);
        assert_eq!(answer(&message, 9).unwrap(), Some(Duration::from_millis(millis.into())));
        assert_eq!(answer(&message, 8).unwrap(), None);
        for length in 0..message.len() {
            assert!(!matches!(answer(&message[..length], 9), Ok(Some(_))), "{length}");
        }
    }
}
