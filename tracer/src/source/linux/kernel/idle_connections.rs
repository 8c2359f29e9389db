//! For how long connections have been idle, whatever namespace they are in.

use crate::event::{HoldId, NetNs, Protocol};
use crate::source::linux::bpf::wire;
use crate::source::linux::kernel::sock_diag::{self, Inquiry};
use crate::source::linux::kernel::{clock, netns};
use crate::source::linux::system::IdleTime;
use portleak_ebpf::{Hold, protocol, state};
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use std::iter;
use std::net::SocketAddr;

/// The idle times of those among `holds` that are connections and still exist.
#[must_use]
pub fn times(holds: Vec<(HoldId, Hold)>) -> Vec<IdleTime> {
    let mut by_netns: BTreeMap<NetNs, Vec<(HoldId, Hold)>> = BTreeMap::new();
    for (id, hold) in holds.into_iter().filter(|(_, hold)| is_connection(hold)) {
        by_netns.entry(NetNs(hold.netns)).or_default().push((id, hold));
    }
    let mut times = Vec::new();
    for (id, holds) in by_netns {
        let near = holds.first().map(|(_, hold)| hold.owner.pid);
        let inside = netns::find(id, near.into_iter().chain(iter::once(std::process::id())));
        let answers = inside.map(|namespace| netns::within(&namespace, || inquire(&holds)));
        // A namespace that cannot be entered has no answers.
        times.extend(answers.and_then(Result::ok).into_iter().flatten());
    }
    times
}

fn is_connection(hold: &Hold) -> bool {
    hold.protocol == protocol::TCP
        && matches!(hold.state, state::CONNECTED | state::CLOSE_WAIT | state::CLOSING)
}

fn inquire(holds: &[(HoldId, Hold)]) -> Vec<IdleTime> {
    let Ok(inquiry) = Inquiry::open() else {
        return Vec::new();
    };
    let unknown = |(_, hold): &(HoldId, Hold)| wire::local(hold).ip().is_unspecified();
    let chosen = if holds.iter().any(unknown) { local_addresses() } else { FxHashMap::default() };
    let answers = holds.iter().filter_map(|&(id, ref hold)| {
        let local = chosen.get(&id.0).copied().unwrap_or_else(|| wire::local(hold));
        let idle = inquiry.idle(id.0, local, wire::remote(hold)?).ok()??;
        let idle_ns = u64::try_from(idle.as_nanos()).unwrap_or(u64::MAX);
        Some(IdleTime { hold: id, at_ns: clock::boot_ns(), idle_ns })
    });
    answers.collect()
}

/// The address that each TCP socket has: of one that was bound to a port alone, what its connect
/// chose.
fn local_addresses() -> FxHashMap<u64, SocketAddr> {
    let rows = sock_diag::dump(&[Protocol::Tcp]).map(|dump| dump.rows).unwrap_or_default();
    rows.iter().map(|row| (row.cookie, SocketAddr::new(row.local, row.local_port))).collect()
}
