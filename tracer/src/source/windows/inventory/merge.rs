//! Merges the tables of connections and of bound endpoints into one list with each socket once.

use super::{Row, RowState};
use crate::event::SocketState;
use rustc_hash::FxHashSet;
use std::net::IpAddr;

/// All sockets: the `rows` of IP Helper's tables, and those `bound` endpoints that none of them contains.
///
/// An endpoint stays in the table of bound endpoints when it listens or connects. If it was bound to no
/// address, its connection has one. So port and process identify the socket.
#[must_use]
pub fn merge(mut rows: Vec<Row>, bound: Vec<Row>) -> Vec<Row> {
    let key = |row: &Row| (row.protocol, row.local.port(), row.pid);
    let places: FxHashSet<_> = rows
        .iter()
        .filter(|row| row.state != RowState::TimeWait)
        .map(|row| (key(row), row.local.ip()))
        .collect();
    let anywhere: FxHashSet<_> = places.iter().map(|(key, _)| *key).collect();
    let is_listed = |row: &Row| match row.local.ip() {
        ip if ip.is_unspecified() => anywhere.contains(&key(row)),
        ip => places.contains(&(key(row), ip)),
    };
    rows.extend(bound.into_iter().filter(|row| !is_listed(row)));
    rows.sort_unstable();
    rows.dedup();
    once_for_both_families(rows)
}

/// The tables of both families contain a dual-mode socket that is bound to no address.
fn once_for_both_families(mut rows: Vec<Row>) -> Vec<Row> {
    let is_wild = |row: &Row| {
        row.local.ip().is_unspecified()
            && matches!(row.state, RowState::Held(SocketState::Bound | SocketState::Listen))
    };
    let key = |row: &Row| (row.protocol, row.local.port(), row.pid, row.state);
    let sixes = rows.iter().filter(|row| is_wild(row) && row.local.is_ipv6());
    let sixes: FxHashSet<_> = sixes.map(key).collect();
    rows.retain(|row| {
        !(is_wild(row) && matches!(row.local.ip(), IpAddr::V4(_)) && sixes.contains(&key(row)))
    });
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Protocol;

    fn row(local: &str, remote: Option<&str>, state: RowState, pid: u32) -> Row {
        let remote = remote.map(|remote| remote.parse().unwrap());
        Row { protocol: Protocol::Tcp, local: local.parse().unwrap(), remote, state, pid }
    }

    const BOUND: RowState = RowState::Held(SocketState::Bound);
    const CONNECTED: RowState = RowState::Held(SocketState::Connected);
    const LISTEN: RowState = RowState::Held(SocketState::Listen);

    #[test]
    fn a_bound_endpoint_that_went_on_is_listed_once() {
        let rows = vec![
            row("10.0.0.5:50000", Some("10.0.0.1:443"), CONNECTED, 7),
            row("0.0.0.0:50002", None, LISTEN, 7),
        ];
        let bound = vec![
            row("0.0.0.0:50000", None, BOUND, 7),
            row("10.0.0.5:50000", None, BOUND, 7),
            row("[::]:50000", None, BOUND, 7),
            row("0.0.0.0:50002", None, BOUND, 7),
            row("0.0.0.0:50001", None, BOUND, 7),
        ];
        let only = row("0.0.0.0:50001", None, BOUND, 7);
        let mut expected = vec![only, rows[0].clone(), rows[1].clone()];
        expected.sort_unstable();
        assert_eq!(merge(rows, bound), expected);
    }

    #[test]
    fn another_process_or_address_is_another_socket() {
        let rows = vec![row("10.0.0.5:50000", Some("10.0.0.1:443"), CONNECTED, 7)];
        let bound = vec![row("0.0.0.0:50000", None, BOUND, 8), row("10.0.0.6:50000", None, BOUND, 7)];
        assert_eq!(merge(rows, bound).len(), 3);
    }

    #[test]
    fn a_time_wait_says_nothing_of_a_bound_endpoint() {
        let rows = vec![row("10.0.0.5:50000", Some("10.0.0.1:443"), RowState::TimeWait, 0)];
        assert_eq!(merge(rows, vec![row("0.0.0.0:50000", None, BOUND, 0)]).len(), 2);
    }

    #[test]
    fn a_dual_mode_socket_is_one() {
        let rows = vec![row("0.0.0.0:50002", None, LISTEN, 7), row("[::]:50002", None, LISTEN, 7)];
        assert_eq!(merge(rows.clone(), Vec::new()), [rows[1].clone()]);
        let apart = vec![row("0.0.0.0:50002", None, LISTEN, 7), row("[::]:50002", None, LISTEN, 8)];
        assert_eq!(merge(apart, Vec::new()).len(), 2, "two processes");
        let addresses = vec![row("127.0.0.1:50002", None, LISTEN, 7), row("[::1]:50002", None, LISTEN, 7)];
        assert_eq!(merge(addresses, Vec::new()).len(), 2, "two addresses");
    }

    #[test]
    fn the_same_row_twice_is_one() {
        let rows = vec![row("10.0.0.5:50000", Some("10.0.0.1:443"), CONNECTED, 7); 2];
        assert_eq!(merge(rows, Vec::new()).len(), 1);
    }
}
