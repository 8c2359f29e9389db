//! IP Helper's tables: a count and as many rows, in host byte order.
//!
//! The rows are those of iprtrmib.h, tcpmib.h and udpmib.h. Addresses and ports are in network byte order. A
//! port is in the lower half of a 32-bit field, whose upper half may have any value.
//!
//! The scopes of IPv6 addresses are ignored, as in the events, so that a row and an event of one socket have
//! the same address. An IPv4-mapped address (`::ffff:a.b.c.d`) is returned as IPv4.

use super::{Row, RowState};
use crate::event::{Protocol, SocketState};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A table's layout: the offset and size of its rows, and the offset of each field in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Its name in the headers.
    pub name: &'static str,
    /// The protocol of its sockets.
    pub protocol: Protocol,
    /// The size of an address: 4 or 16 bytes.
    pub address_bytes: usize,
    /// The offset of the first row.
    pub first: usize,
    /// The size of a row.
    pub row: usize,
    /// The offsets of the local address and port.
    pub local: (usize, usize),
    /// The offsets of the remote address and port; `None` for UDP.
    pub remote: Option<(usize, usize)>,
    /// The offset of the state. Without it, every socket is bound.
    pub state: Option<usize>,
    /// The offset of the process id.
    pub pid: usize,
}

/// `MIB_TCPTABLE_OWNER_MODULE` (iprtrmib.h).
pub const TCP4: Layout = Layout {
    name: "MIB_TCPTABLE_OWNER_MODULE",
    protocol: Protocol::Tcp,
    address_bytes: 4,
    first: 8,
    row: 160,
    local: (4, 8),
    remote: Some((12, 16)),
    state: Some(0),
    pid: 20,
};
/// `MIB_TCP6TABLE_OWNER_MODULE` (iprtrmib.h).
pub const TCP6: Layout = Layout {
    name: "MIB_TCP6TABLE_OWNER_MODULE",
    protocol: Protocol::Tcp,
    address_bytes: 16,
    first: 8,
    row: 192,
    local: (0, 20),
    remote: Some((24, 44)),
    state: Some(48),
    pid: 52,
};
/// `MIB_UDPTABLE_OWNER_MODULE` (iprtrmib.h).
pub const UDP4: Layout = Layout {
    name: "MIB_UDPTABLE_OWNER_MODULE",
    protocol: Protocol::Udp,
    address_bytes: 4,
    first: 8,
    row: 160,
    local: (0, 4),
    remote: None,
    state: None,
    pid: 8,
};
/// `MIB_UDP6TABLE_OWNER_MODULE` (iprtrmib.h).
pub const UDP6: Layout = Layout {
    name: "MIB_UDP6TABLE_OWNER_MODULE",
    protocol: Protocol::Udp,
    address_bytes: 16,
    first: 8,
    row: 176,
    local: (0, 20),
    remote: None,
    state: None,
    pid: 24,
};
/// `MIB_TCPTABLE2` (tcpmib.h) as filled by `InternalGetBoundTcpEndpointTable`: endpoints that were bound,
/// whatever state they have now. The state is not read; System Informer does not read it either.
pub const BOUND4: Layout = Layout {
    name: "MIB_TCPTABLE2",
    protocol: Protocol::Tcp,
    address_bytes: 4,
    first: 4,
    row: 28,
    local: (4, 8),
    remote: None,
    state: None,
    pid: 20,
};
/// `MIB_TCP6TABLE2` (tcpmib.h) as filled by `InternalGetBoundTcp6EndpointTable`.
pub const BOUND6: Layout = Layout {
    name: "MIB_TCP6TABLE2",
    protocol: Protocol::Tcp,
    address_bytes: 16,
    first: 4,
    row: 60,
    local: (0, 20),
    remote: None,
    state: None,
    pid: 52,
};

/// A parsed table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Its sockets.
    pub rows: Vec<Row>,
    /// How many rows have an unknown state.
    pub unknown: usize,
}

/// A table that ends before the number of rows that it announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Short {
    layout: &'static str,
    rows: u32,
    bytes: usize,
}

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { layout, rows, bytes } = self;
        write!(f, "{layout} says it has {rows} rows, which {bytes} bytes cannot hold")
    }
}

impl Layout {
    /// Parses a table. Bytes after its last row are ignored: the buffer may be larger.
    ///
    /// # Errors
    /// When the buffer ends before the table.
    pub fn read(&self, bytes: &[u8]) -> Result<Table, Short> {
        let rows = number(bytes, 0).unwrap_or_default();
        let short = Short { layout: self.name, rows, bytes: bytes.len() };
        let needed = (rows as usize).checked_mul(self.row).and_then(|all| all.checked_add(self.first));
        if bytes.len() < 4 || (rows > 0 && needed.is_none_or(|needed| needed > bytes.len())) {
            return Err(short);
        }
        let mut table = Table::default();
        for row in bytes.get(self.first..).unwrap_or_default().chunks_exact(self.row).take(rows as usize) {
            match self.state_of(row) {
                Some(Some(state)) => table.rows.push(self.socket(row, state).ok_or(short)?),
                Some(None) => {}
                None => table.unknown += 1,
            }
        }
        Ok(table)
    }

    fn socket(&self, row: &[u8], state: RowState) -> Option<Row> {
        let remote = match (self.remote, state) {
            (None, _) | (_, RowState::Held(SocketState::Bound | SocketState::Listen)) => None,
            (Some(place), _) => Some(self.address(row, place)?),
        };
        Some(Row {
            protocol: self.protocol,
            local: self.address(row, self.local)?,
            remote,
            state,
            pid: number(row, self.pid)?,
        })
    }

    fn address(&self, row: &[u8], (at, port): (usize, usize)) -> Option<SocketAddr> {
        let ip: IpAddr = if self.address_bytes == 4 {
            Ipv4Addr::from(bytes::<4>(row, at)?).into()
        } else {
            Ipv6Addr::from(bytes::<16>(row, at)?).to_canonical()
        };
        Some(SocketAddr::new(ip, u16::from_be_bytes(bytes(row, port)?)))
    }

    /// `MIB_TCP_STATE` (tcpmib.h). `Some(None)` is a connection that has ended: 1 CLOSED, 12 DELETE_TCB. If
    /// its socket is still bound, the table of bound endpoints has it.
    fn state_of(&self, row: &[u8]) -> Option<Option<RowState>> {
        let held = |state| Some(Some(RowState::Held(state)));
        let Some(at) = self.state else {
            return held(SocketState::Bound);
        };
        match number(row, at)? {
            1 | 12 => Some(None),
            2 => held(SocketState::Listen),
            3 => held(SocketState::SynSent),
            // 4 is SYN_RCVD: it holds its port like a connected one.
            4 | 5 => held(SocketState::Connected),
            6 | 7 | 9 | 10 => held(SocketState::Closing),
            8 => held(SocketState::CloseWait),
            11 => Some(Some(RowState::TimeWait)),
            // RESERVED: Get-NetTCPConnection shows it as Bound.
            100 => held(SocketState::Bound),
            _ => None,
        }
    }
}

fn bytes<const N: usize>(row: &[u8], at: usize) -> Option<[u8; N]> {
    row.get(at..)?.first_chunk().copied()
}

fn number(row: &[u8], at: usize) -> Option<u32> {
    bytes(row, at).map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(count in 0_u32..4, rest: Vec<u8>) {
            let bytes = [&count.to_ne_bytes()[..], &rest].concat();
            for layout in [TCP4, TCP6, UDP4, UDP6, BOUND4, BOUND6] {
                if let Ok(table) = layout.read(&bytes) {
                    prop_assert!(table.rows.len() + table.unknown <= count as usize);
                }
            }
        }
    }

    /// A table of one row, with each field at its offset and non-zero bytes elsewhere.
    fn table(layout: &Layout, local: &str, remote: &str, state: u32, pid: u32) -> Vec<u8> {
        let mut bytes = vec![0xee; layout.first + layout.row];
        put(&mut bytes, 0, &1_u32.to_ne_bytes());
        let row = &mut bytes[layout.first..];
        address(row, layout.local, local);
        if let Some(place) = layout.remote {
            address(row, place, remote);
        }
        if let Some(at) = layout.state {
            put(row, at, &state.to_ne_bytes());
        }
        put(row, layout.pid, &pid.to_ne_bytes());
        bytes
    }

    fn address(row: &mut [u8], (at, port): (usize, usize), text: &str) {
        let address: SocketAddr = text.parse().unwrap();
        match address.ip() {
            IpAddr::V4(ip) => put(row, at, &ip.octets()),
            IpAddr::V6(ip) => put(row, at, &ip.octets()),
        }
        put(row, port, &address.port().to_be_bytes());
    }

    fn put(bytes: &mut [u8], at: usize, what: &[u8]) {
        bytes[at..at + what.len()].copy_from_slice(what);
    }

    fn one(layout: &Layout, local: &str, remote: &str, state: u32) -> Row {
        let table = layout.read(&table(layout, local, remote, state, 4_242)).unwrap();
        let [row] = &table.rows[..] else { panic!("{table:?}") };
        row.clone()
    }

    #[test]
    fn connections_of_both_families() {
        let row = one(&TCP4, "10.0.0.5:49173", "93.184.216.34:443", 5);
        let expected = Row {
            protocol: Protocol::Tcp,
            local: "10.0.0.5:49173".parse().unwrap(),
            remote: "93.184.216.34:443".parse().ok(),
            state: RowState::Held(SocketState::Connected),
            pid: 4_242,
        };
        assert_eq!(row, expected);
        let row = one(&TCP6, "[2001:db8::5]:49173", "[2001:db8::1]:443", 8);
        assert_eq!(row.local, "[2001:db8::5]:49173".parse().unwrap());
        assert_eq!(row.remote, "[2001:db8::1]:443".parse().ok());
        assert_eq!(row.state, RowState::Held(SocketState::CloseWait));
        let row = one(&TCP6, "[::ffff:10.0.0.5]:49173", "[::ffff:10.0.0.1]:443", 3);
        assert_eq!((row.local, row.remote), ("10.0.0.5:49173".parse().unwrap(), "10.0.0.1:443".parse().ok()));
    }

    #[test]
    fn sockets_without_a_state_are_bound() {
        for (layout, local) in
            [(UDP4, "0.0.0.0:50000"), (UDP6, "[::]:50000"), (BOUND4, "127.0.0.1:50001"), (BOUND6, "[::1]:1")]
        {
            let row = one(&layout, local, "0.0.0.0:0", 5);
            assert_eq!((row.protocol, row.local), (layout.protocol, local.parse().unwrap()));
            assert_eq!((row.remote, row.pid), (None, 4_242), "{}", layout.name);
            assert_eq!(row.state, RowState::Held(SocketState::Bound));
        }
    }

    #[test]
    fn every_state_of_tcpmib_h() {
        let read = |state| TCP4.read(&table(&TCP4, "1.2.3.4:5", "6.7.8.9:10", state, 1)).unwrap();
        let held = |state| Some(RowState::Held(state));
        let expected = [
            (1, None),
            (2, held(SocketState::Listen)),
            (3, held(SocketState::SynSent)),
            (4, held(SocketState::Connected)),
            (5, held(SocketState::Connected)),
            (6, held(SocketState::Closing)),
            (7, held(SocketState::Closing)),
            (8, held(SocketState::CloseWait)),
            (9, held(SocketState::Closing)),
            (10, held(SocketState::Closing)),
            (11, Some(RowState::TimeWait)),
            (12, None),
            (100, held(SocketState::Bound)),
        ];
        for (state, expected) in expected {
            let table = read(state);
            assert_eq!(table.rows.first().map(|row| row.state), expected, "{state}");
            assert_eq!(table.unknown, 0, "{state}");
        }
        for state in [0, 13, 99, u32::MAX] {
            assert_eq!(read(state), Table { rows: Vec::new(), unknown: 1 }, "{state}");
        }
        assert_eq!(one(&TCP4, "0.0.0.0:445", "0.0.0.0:0", 2).remote, None, "a listener has no other side");
    }

    #[test]
    fn tables_that_are_too_short_or_too_long() {
        for layout in [TCP4, TCP6, UDP4, UDP6, BOUND4, BOUND6] {
            let local = if layout.address_bytes == 4 { "1.2.3.4:5" } else { "[::5]:5" };
            let whole = table(&layout, local, local, 5, 1);
            for end in 0..whole.len() {
                assert!(layout.read(&whole[..end]).is_err(), "{} {end}", layout.name);
            }
            let longer = [&whole[..], &[1; 300]].concat();
            assert_eq!(layout.read(&longer), layout.read(&whole));
            let mut many = whole;
            put(&mut many, 0, &u32::MAX.to_ne_bytes());
            assert!(layout.read(&many).is_err());
            assert_eq!(layout.read(&[0; 4]), Ok(Table::default()), "an empty table needs no row");
        }
        let error = TCP4.read(&[2, 0, 0, 0, 0]).unwrap_err().to_string();
        assert_eq!(error, "MIB_TCPTABLE_OWNER_MODULE says it has 2 rows, which 5 bytes cannot hold");
    }
}
