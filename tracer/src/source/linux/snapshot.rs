//! What was held before the probes were attached.
//!
//! Race-free, because the ledger decides: the probes run already, a socket that they have entered
//! or seen end is refused by it, and one that it accepts is theirs to release from then on.

use crate::event::{
    Degradation, Event, EventKind, HoldId, NetNs, PoolId, PortRange, ProcessId, Protocol, TimeWaitFound,
};
use crate::source::linux::bpf::ledger::Ledger;
use crate::source::linux::bpf::wire;
use crate::source::linux::kernel::sock_diag::{self, SocketRow};
use crate::source::linux::kernel::{bound_sockets, clock, features, netns};
use crate::source::linux::procfs::descriptors::{Descriptors, Holders};
use portleak_ebpf::{Hold, OwnerKey, address_words, flag, protocol, state};
use rustc_hash::FxHashSet;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// What the snapshot found.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Who holds what.
    pub events: Vec<Event>,
    /// The pools of every namespace.
    pub pools: BTreeMap<PoolId, PortRange>,
    /// What could not be looked at.
    pub degraded: Vec<Degradation>,
}

/// One namespace as seen from inside.
pub(crate) struct View {
    pub(super) id: NetNs,
    pub(super) range: PortRange,
    pub(super) rows: Vec<SocketRow>,
    pub(super) looked_ns: u64,
}

/// Looks into every namespace and enters what it finds into the ledger.
#[must_use]
pub fn take(ledger: &mut Ledger, descriptors: &Descriptors) -> Snapshot {
    let mut snapshot = Snapshot::default();
    let (views, holders) = survey(&mut snapshot.degraded, descriptors);
    for view in &views {
        snapshot.events.extend(view.pools().chain(view.time_waits()));
        snapshot.pools.extend(view.ids().map(|pool| (pool, view.range)));
        let holds = holds(view, &holders);
        let entered = holds.into_iter().filter(|(cookie, hold)| ledger.adopt(*cookie, hold));
        for (cookie, hold) in entered {
            if let Ok(acquired) = wire::acquired(HoldId(cookie), &hold, view.range.reserved) {
                let at_ns = hold.acquired_ns;
                snapshot.events.push(Event { at_ns, kind: EventKind::Acquired(acquired) });
            }
        }
    }
    snapshot
}

/// What is in every namespace, and which process holds which socket.
pub(crate) fn survey(degraded: &mut Vec<Degradation>, descriptors: &Descriptors) -> (Vec<View>, Holders) {
    let (mut views, holders) = std::thread::scope(|scope| {
        let holders = scope.spawn(|| descriptors.holders(None));
        let views = look(degraded);
        (views, holders.join().unwrap_or_default())
    });
    if !features::lists_bound_sockets() {
        add_bound_only(&mut views, &holders);
    }
    (views, holders)
}

impl View {
    /// Its pools.
    pub(super) fn ids(&self) -> impl Iterator<Item = PoolId> + use<> {
        let netns = self.id;
        [Protocol::Tcp, Protocol::Udp].into_iter().map(move |protocol| PoolId { netns, protocol })
    }

    /// The settings of its pools.
    pub(super) fn settings(&self) -> PortRange {
        self.range
    }

    /// The same as events.
    pub(super) fn pools(&self) -> impl Iterator<Item = Event> {
        let (range, at_ns) = (self.range, self.looked_ns);
        self.ids().map(move |pool| Event { at_ns, kind: EventKind::Pool { pool, range } })
    }

    /// Its TIME_WAITs on ports that were acquired.
    pub(super) fn time_waits(&self) -> impl Iterator<Item = Event> {
        let at_ns = self.looked_ns;
        let pool = PoolId { netns: self.id, protocol: Protocol::Tcp };
        self.acquired().filter_map(move |row| {
            let ends_ns = at_ns + u64::from(row.time_wait_ms?) * 1_000_000;
            let found = TimeWaitFound { hold: HoldId(row.cookie), pool, remote: row.remote, ends_ns };
            Some(Event { at_ns, kind: EventKind::TimeWaitFound(found) })
        })
    }

    /// The sockets, TIME_WAITs among them, whose ports were acquired from the pool.
    fn acquired(&self) -> impl Iterator<Item = &SocketRow> {
        let listening: FxHashSet<_> = self
            .rows
            .iter()
            .filter(|row| row.protocol == Protocol::Tcp && row.state == state::LISTEN)
            .map(|row| row.local_port)
            .collect();
        self.rows.iter().filter(move |row| {
            let in_pool = (self.range.low..=self.range.high).contains(&row.local_port);
            // An accepted socket shares its listener's port; it chose none.
            let accepted = row.protocol == Protocol::Tcp
                && row.state != state::LISTEN
                && listening.contains(&row.local_port);
            in_pool && !accepted
        })
    }
}

fn look(degraded: &mut Vec<Degradation>) -> Vec<View> {
    let mut views = Vec::new();
    for namespace in netns::all() {
        let seen = netns::within(&namespace, || {
            Ok((netns::port_range()?, sock_diag::dump(&[Protocol::Tcp, Protocol::Udp])?))
        });
        match seen.and_then(|seen| seen) {
            Ok((range, dump)) => {
                let looked_ns = clock::boot_ns();
                views.push(View { id: namespace.id, range, rows: dump.rows, looked_ns });
            }
            Err(error) => degraded.push(Degradation {
                feature: format!("ports held before tracing in network namespace {}", namespace.id.0),
                why: error.what,
                remedy: error.remedy,
            }),
        }
    }
    views
}

/// Adds the TCP sockets that this kernel does not list to the views that they belong to.
fn add_bound_only(views: &mut [View], holders: &Holders) {
    let listed = views.iter().flat_map(|view| &view.rows).map(|row| row.inode).collect();
    for (netns, row) in bound_sockets::find(holders.all_first(), &listed) {
        if let Some(view) = views.iter_mut().find(|view| view.id == netns) {
            view.rows.push(row);
        }
    }
}

/// The ephemeral holds among a namespace's sockets.
pub(crate) fn holds(view: &View, holders: &Holders) -> Vec<(u64, Hold)> {
    let held = view.acquired().filter(|row| row.time_wait_ms.is_none());
    held.map(|row| (row.cookie, hold(view, row, holders.first(row.inode).as_ref()))).collect()
}

fn hold(view: &View, row: &SocketRow, holder: Option<&ProcessId>) -> Hold {
    let (family, local) = words(row.local);
    let (_, remote) = row.remote.map_or((family, [0, 0]), |remote| words(remote.ip()));
    Hold {
        acquired_ns: clock::boot_ns(),
        owner: holder.map_or_else(OwnerKey::default, |holder| wire::owner_key(*holder)),
        local,
        remote,
        site: 0,
        netns: view.id.0,
        port: row.local_port,
        remote_port: row.remote.map_or(0, |remote| remote.port()),
        range_low: view.range.low,
        range_high: view.range.high,
        protocol: match row.protocol {
            Protocol::Tcp => protocol::TCP,
            Protocol::Udp => protocol::UDP,
        },
        family,
        flags: flag::PRE_EXISTING,
        state: wire_state(row),
    }
}

/// An IPv4 address inside an IPv6 socket is emitted as IPv4, as everywhere.
fn words(address: IpAddr) -> (u8, [u64; 2]) {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            (4, address_words([a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]))
        }
        IpAddr::V6(v6) => (6, address_words(v6.octets())),
    }
}

/// The kernel's state numbers (include/net/tcp_states.h) as the wire has them.
fn wire_state(row: &SocketRow) -> u8 {
    match (row.protocol, row.state) {
        (Protocol::Udp, _) if row.remote.is_none() => state::BOUND,
        (Protocol::Udp, _) => state::CONNECTED,
        (
            _,
            known @ (state::CONNECTED | state::SYN_SENT | state::BOUND | state::CLOSE_WAIT | state::LISTEN),
        ) => known,
        _ => state::CLOSING,
    }
}
