//! A cursor over a payload: packed, little-endian, and possibly shorter than its layout.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The rest of a payload.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, left) = self.0.split_at_checked(count)?;
        self.0 = left;
        Some(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N).and_then(|taken| taken.first_chunk().copied())
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    /// A number in network byte order: the ports of the MOF events.
    pub(super) fn u16_be(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// A pointer of a machine whose pointers have `width` bytes.
    pub(super) fn pointer(&mut self, width: u8) -> Option<u64> {
        if width == 4 { self.u32().map(u64::from) } else { self.u64() }
    }

    pub(super) fn ipv4(&mut self) -> Option<IpAddr> {
        self.array().map(|octets: [u8; 4]| Ipv4Addr::from(octets).into())
    }

    pub(super) fn ipv6(&mut self) -> Option<IpAddr> {
        self.array().map(|octets: [u8; 16]| Ipv6Addr::from(octets).into())
    }

    /// UTF-16 text up to its terminating zero, or to the end if that is missing.
    pub(super) fn wide(&mut self) -> String {
        let units = self.0.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
        let text: Vec<u16> = units.take_while(|&unit| unit != 0).collect();
        let end = (text.len() * 2 + 2).min(self.0.len());
        self.0 = &self.0[end..];
        String::from_utf16_lossy(&text)
    }

    /// Text in bytes up to its terminating zero, or to the end if that is missing.
    pub(super) fn narrow(&mut self) -> String {
        let end = self.0.iter().position(|&byte| byte == 0).unwrap_or(self.0.len());
        let text = String::from_utf8_lossy(&self.0[..end]).into_owned();
        self.0 = self.0.get(end + 1..).unwrap_or_default();
        text
    }

    /// Skips a security identifier: revision, count of subauthorities, authority, subauthorities.
    pub(super) fn skip_sid(&mut self) -> Option<()> {
        let parts = *self.0.get(1)?;
        self.take(8 + 4 * usize::from(parts)).map(drop)
    }
}

/// The address in a `SOCKADDR`; `None` for families without ports.
///
/// An IPv4-mapped address (`::ffff:a.b.c.d`) of a dual-mode socket is returned as IPv4.
pub(super) fn socket_address(bytes: &[u8]) -> Option<SocketAddr> {
    const AF_INET: u16 = 2;
    const AF_INET6: u16 = 23;
    let mut bytes = Bytes(bytes);
    let family = bytes.u16()?;
    let port = bytes.u16_be()?;
    let ip = match family {
        AF_INET => bytes.ipv4()?,
        AF_INET6 => {
            bytes.u32()?; // sin6_flowinfo
            bytes.ipv6()?.to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_both_families() {
        let v4 = [2, 0, 0xc0, 0x15, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(socket_address(&v4), "127.0.0.1:49173".parse().ok());
        let mut v6 = [0; 28];
        v6[..4].copy_from_slice(&[23, 0, 0x01, 0xbb]);
        v6[23] = 1;
        assert_eq!(socket_address(&v6), "[::1]:443".parse().ok());
        v6[18..24].copy_from_slice(&[0xff, 0xff, 10, 0, 0, 1]);
        assert_eq!(socket_address(&v6), "10.0.0.1:443".parse().ok());
    }

    #[test]
    fn what_is_no_address() {
        assert_eq!(socket_address(&[]), None);
        assert_eq!(socket_address(&[2, 0, 1]), None);
        assert_eq!(socket_address(&[1; 28]), None, "AF_UNIX has no ports");
    }

    #[test]
    fn texts_end_at_their_zero() {
        let mut bytes = Bytes(b"a\0b\0\0\0c\0");
        assert_eq!((bytes.wide(), bytes.wide()), ("ab".to_owned(), "c".to_owned()));
        let mut bytes = Bytes(b"ab\0c");
        assert_eq!((bytes.narrow(), bytes.narrow()), ("ab".to_owned(), "c".to_owned()));
        assert_eq!(Bytes(&[]).wide(), "");
        assert_eq!(Bytes(&[7]).wide(), "");
    }
}
