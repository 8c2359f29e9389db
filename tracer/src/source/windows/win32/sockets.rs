//! The open sockets, from IP Helper (iphlpapi.h), which needs no rights.

use super::bound;
use super::buffer::Buffer;
use super::failure;
use crate::event::{Degradation, Protocol};
use crate::source::SourceError;
use crate::source::windows::inventory::tables::{Layout, TCP4, TCP6, Table, UDP4, UDP6};
use crate::source::windows::inventory::{Row, merge};
use windows_sys::Win32::NetworkManagement::IpHelper::{
    GetExtendedTcpTable, GetExtendedUdpTable, TCP_TABLE_OWNER_MODULE_ALL, UDP_TABLE_OWNER_MODULE,
};
use windows_sys::Win32::Networking::WinSock::{AF_INET, AF_INET6};

/// Room for four hundred sockets; it grows if needed.
const FIRST_BYTES: u32 = 1 << 16;

/// All sockets that could be listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sockets {
    /// Each socket once.
    pub rows: Vec<Row>,
    /// What could not be listed.
    pub degraded: Vec<Degradation>,
}

/// Lists the sockets, those that are only bound included.
///
/// # Errors
/// When none of IP Helper's tables can be read.
pub fn sockets() -> Result<Sockets, SourceError> {
    let mut sockets = Sockets::default();
    let mut errors = Vec::new();
    for (layout, what) in
        [(TCP4, "tcp over IPv4"), (TCP6, "tcp over IPv6"), (UDP4, "udp over IPv4"), (UDP6, "udp over IPv6")]
    {
        match table(&layout) {
            Ok(table) => sockets.rows.append(&mut sockets_of(table, what, &mut sockets.degraded)),
            Err(error) => errors.push((what, error)),
        }
    }
    if errors.len() == 4
        && let Some((_, error)) = errors.pop()
    {
        return Err(error);
    }
    sockets.degraded.extend(errors.into_iter().map(|(what, error)| Degradation {
        feature: format!("sockets of {what} that are open already"),
        why: error.what,
        remedy: error.remedy,
    }));
    let bound = bound::endpoints(&mut sockets.degraded);
    sockets.rows = merge(sockets.rows, bound);
    Ok(sockets)
}

fn sockets_of(table: Table, what: &str, degraded: &mut Vec<Degradation>) -> Vec<Row> {
    if table.unknown > 0 {
        degraded.push(Degradation {
            feature: format!("sockets of {what} that are open already"),
            why: format!("{} are in a state that is not known, and left out", table.unknown),
            remedy: "compare with: netstat -ano".to_owned(),
        });
    }
    table.rows
}

fn table(layout: &Layout) -> Result<Table, SourceError> {
    let family = u32::from(if layout.address_bytes == 4 { AF_INET } else { AF_INET6 });
    let name = match layout.protocol {
        Protocol::Tcp => "GetExtendedTcpTable",
        Protocol::Udp => "GetExtendedUdpTable",
    };
    let what = format!("{name} cannot list sockets");
    let buffer = Buffer::fill(FIRST_BYTES, |to, bytes, needed| {
        *needed = bytes;
        // SAFETY: `to` has the size in `needed`, and both outlive the call.
        unsafe {
            match layout.protocol {
                Protocol::Tcp => GetExtendedTcpTable(to, needed, 0, family, TCP_TABLE_OWNER_MODULE_ALL, 0),
                Protocol::Udp => GetExtendedUdpTable(to, needed, 0, family, UDP_TABLE_OWNER_MODULE, 0),
            }
        }
    });
    let buffer = buffer.map_err(|code| failure(&what, code))?;
    layout.read(buffer.bytes()).map_err(|short| SourceError {
        what: format!("{what}: {short}"),
        remedy: "compare with: netstat -ano".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::windows::inventory::tables::{BOUND4, BOUND6};
    use std::mem::offset_of;
    use windows_sys::Win32::NetworkManagement::IpHelper::*;

    /// Asserts a layout against the structures of Microsoft's headers.
    macro_rules! lies_as {
        ($layout:ident, $table:ident, $row:ident, $local:ident, $local_port:ident, $pid:ident) => {
            assert_eq!($layout.first, offset_of!($table, table), stringify!($table));
            assert_eq!($layout.row, size_of::<$row>(), stringify!($row));
            assert_eq!($layout.local, (offset_of!($row, $local), offset_of!($row, $local_port)));
            assert_eq!($layout.pid, offset_of!($row, $pid));
        };
    }

    #[test]
    fn the_layouts_are_those_of_the_headers() {
        type T4 = MIB_TCPROW_OWNER_MODULE;
        type T6 = MIB_TCP6ROW_OWNER_MODULE;
        lies_as!(TCP4, MIB_TCPTABLE_OWNER_MODULE, T4, dwLocalAddr, dwLocalPort, dwOwningPid);
        assert_eq!(TCP4.remote, Some((offset_of!(T4, dwRemoteAddr), offset_of!(T4, dwRemotePort))));
        assert_eq!(TCP4.state, Some(offset_of!(T4, dwState)));
        lies_as!(TCP6, MIB_TCP6TABLE_OWNER_MODULE, T6, ucLocalAddr, dwLocalPort, dwOwningPid);
        assert_eq!(TCP6.remote, Some((offset_of!(T6, ucRemoteAddr), offset_of!(T6, dwRemotePort))));
        assert_eq!(TCP6.state, Some(offset_of!(T6, dwState)));
        type U4 = MIB_UDPROW_OWNER_MODULE;
        type U6 = MIB_UDP6ROW_OWNER_MODULE;
        lies_as!(UDP4, MIB_UDPTABLE_OWNER_MODULE, U4, dwLocalAddr, dwLocalPort, dwOwningPid);
        lies_as!(UDP6, MIB_UDP6TABLE_OWNER_MODULE, U6, ucLocalAddr, dwLocalPort, dwOwningPid);
        lies_as!(BOUND4, MIB_TCPTABLE2, MIB_TCPROW2, dwLocalAddr, dwLocalPort, dwOwningPid);
        lies_as!(BOUND6, MIB_TCP6TABLE2, MIB_TCP6ROW2, LocalAddr, dwLocalPort, dwOwningPid);
    }

    #[test]
    fn our_own_listener_is_listed() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let local = listener.local_addr().unwrap();
        let sockets = sockets().unwrap();
        assert!(sockets.rows.iter().any(|row| row.local == local), "{local}: {sockets:?}");
    }
}
