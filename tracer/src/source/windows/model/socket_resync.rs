//! Resyncs the model with the sockets that Windows lists: finds sockets from before the trace, and corrects
//! holds whose events were lost.
//!
//! ```text
//! listing begins      listing ends     resync()
//! ─────┬──────────────────┬──────────────┬──────▶
//!      at_ns    an event after at_ns is newer than the list, and wins
//! ```

use super::Model;
use super::ports::{Held, Holders, Out, Trust, UNNAMED};
use super::processes::SYSTEM;
use crate::event::{Acquired, Event, EventKind, HoldId, OwnerId, Protocol, SocketState};
use crate::source::windows::inventory::{Row, RowState};
use rustc_hash::FxHashMap;
use std::collections::BTreeSet;
use std::mem;

/// What earlier lists have shown.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Resync {
    /// There was a list.
    begun: bool,
    /// A list had sockets that are only bound: this Windows can list them.
    has_bound: bool,
}

impl Model {
    /// Compares the model with the listed sockets, each listed once. The listing began at `at_ns`; later
    /// events may have been applied already.
    ///
    /// The first list shows what was open before the trace. Later lists correct the model, and
    /// [`EventKind::Corrected`] reports how many holds were wrong.
    pub fn resync(&mut self, at_ns: u64, rows: &[Row], events: &mut Vec<Event>) {
        let is_bound = |row: &Row| row.state == RowState::Held(SocketState::Bound);
        let is_first = !mem::replace(&mut self.resync.begun, true);
        self.resync.has_bound |= rows.iter().any(|row| row.protocol == Protocol::Tcp && is_bound(row));
        let mut out = Out { at_ns, events };
        let mut count = 0;
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let mut by_port: FxHashMap<u16, Vec<&Row>> = FxHashMap::default();
            for row in rows.iter().filter(|row| row.protocol == protocol) {
                by_port.entry(row.local.port()).or_default().push(row);
            }
            by_port.retain(|&port, _| self.ranges.contains(protocol, port, false, &mut out));
            let ports: BTreeSet<u16> = by_port.keys().copied().chain(self.ports(protocol).all()).collect();
            for port in ports {
                let rows = by_port.remove(&port).unwrap_or_default();
                count += self.resync_port((protocol, port), rows, &mut out);
            }
        }
        if count > 0 && !is_first {
            out.push(EventKind::Corrected { count });
        }
    }

    /// Resyncs one port. Returns how many holds were wrong.
    fn resync_port(&mut self, port: (Protocol, u16), mut rows: Vec<&Row>, out: &mut Out<'_>) -> u64 {
        // Accepted connections share their listener's port and take none of their own.
        if rows.iter().any(|row| row.state == RowState::Held(SocketState::Listen)) {
            rows.retain(|row| row.remote.is_none());
        }
        let waits: Vec<_> = rows.extract_if(.., |row| row.state == RowState::TimeWait).collect();
        let mut left = self.ports(port.0).of_port(port.1).to_vec();
        let pairs = self.pair(port.0, &mut rows, &mut left);
        if self.ports(port.0).was_freed(port.1, out.at_ns) {
            // The rows may be of a socket that has ended since.
            rows.clear();
        }
        let open = |id: HoldId| pairs.iter().any(|pair| pair.1 == id);
        let waiting = self.resync_time_waits(port, &waits, open, out);
        left.retain(|id| !waiting.contains(id));
        let mut wrong = 0;
        for &(row, id) in &pairs {
            if !self.is_older(port.0, id, out) {
                continue;
            }
            if !waiting.contains(&id) {
                self.ports_mut(port.0).end_time_wait(id, out);
            }
            wrong += u64::from(self.correct(row, id, out));
        }
        for id in left {
            wrong += u64::from(self.end(port.0, id, &pairs, out));
        }
        for row in rows {
            wrong += u64::from(self.find_socket(row, out));
        }
        wrong
    }

    /// Pairs rows and holds of the same socket, and removes them from `rows` and `holds`.
    fn pair<'a>(
        &self,
        protocol: Protocol,
        rows: &mut Vec<&'a Row>,
        holds: &mut Vec<HoldId>,
    ) -> Vec<(&'a Row, HoldId)> {
        let ports = self.ports(protocol);
        let mut pairs = Vec::new();
        for is_same in [has_ends, has_place_and_owner, has_owner, has_place] {
            rows.retain(|row| {
                let fits = |held: &Held| !held.released && is_same(held, row);
                let at = holds.iter().position(|id| ports.get(*id).is_some_and(fits));
                pairs.extend(at.map(|at| (*row, holds.remove(at))));
                at.is_none()
            });
        }
        pairs
    }

    /// Resyncs the connections listed in TIME_WAIT. Returns their holds.
    fn resync_time_waits(
        &mut self,
        (protocol, port): (Protocol, u16),
        rows: &[&Row],
        is_open: impl Fn(HoldId) -> bool,
        out: &mut Out<'_>,
    ) -> BTreeSet<HoldId> {
        let mut waiting = BTreeSet::new();
        for row in rows {
            let Some(remote) = row.remote else {
                continue;
            };
            let Some(id) = self.ports(protocol).find(port, |held| held.remote == Some(remote)) else {
                if !self.ports(protocol).was_freed(port, out.at_ns) {
                    self.add_time_wait(row.local, remote, UNNAMED, out);
                }
                continue;
            };
            waiting.insert(id);
            if self.is_older(protocol, id, out) {
                self.ports_mut(protocol).correct_time_wait(id, is_open(id), out);
            }
        }
        waiting
    }

    /// Whether no event has changed a hold since the listing began.
    fn is_older(&self, protocol: Protocol, id: HoldId, out: &Out<'_>) -> bool {
        self.ports(protocol).get(id).is_some_and(|held| held.updated_ns < out.at_ns)
    }

    /// Corrects a hold by its row. Returns whether its owner was wrong.
    fn correct(&mut self, row: &Row, id: HoldId, out: &mut Out<'_>) -> bool {
        let Some(held) = self.ports(row.protocol).get(id) else {
            return false;
        };
        let is_wrong = row.pid != 0 && pid(&held.claim.owner) != row.pid;
        if is_wrong {
            let claim = self.named(row.pid, None, Trust::Field, None, out);
            self.ports_mut(row.protocol).set_owner(id, claim, out);
        }
        if let RowState::Held(state) = row.state {
            self.ports_mut(row.protocol).correct(id, state, row.remote, out);
        }
        is_wrong
    }

    /// Ends a hold that is not listed. Returns whether it was held.
    fn end(&mut self, protocol: Protocol, id: HoldId, pairs: &[(&Row, HoldId)], out: &mut Out<'_>) -> bool {
        let has_bound = self.resync.has_bound;
        let ports = self.ports_mut(protocol);
        let Some(held) = ports.get(id).filter(|held| held.updated_ns < out.at_ns) else {
            return false;
        };
        let is_hidden = protocol == Protocol::Tcp && held.state == SocketState::Bound && !has_bound;
        if is_hidden || pairs.iter().any(|(row, _)| stands_for(row, held)) {
            return false;
        }
        let was_held = !held.released;
        ports.end(id, out);
        was_held
    }

    /// A socket that was not known. Returns whether it holds its port.
    fn find_socket(&mut self, row: &Row, out: &mut Out<'_>) -> bool {
        let RowState::Held(state) = row.state else {
            return false;
        };
        let claim = self.named(row.pid, None, Trust::Field, None, out);
        let acquired = self.hold(row.protocol, &claim.owner, row.local);
        let acquired = Acquired { pre_existing: true, remote: row.remote, state, ..acquired };
        let holders = match row.protocol {
            Protocol::Tcp => Holders::found(state, UNNAMED),
            Protocol::Udp => Holders { strong: Some(UNNAMED), weak: None },
        };
        self.begin(acquired, holders, claim.trust, out);
        true
    }
}

/// Both addresses of the connection match.
fn has_ends(held: &Held, row: &Row) -> bool {
    row.remote.is_some() && held.remote == row.remote
}

/// The address and the process match, and the destinations may.
fn has_place_and_owner(held: &Held, row: &Row) -> bool {
    held.local.ip() == row.local.ip() && has_owner(held, row)
}

fn has_owner(held: &Held, row: &Row) -> bool {
    pid(&held.claim.owner) == row.pid && may_go_there(held, row)
}

fn has_place(held: &Held, row: &Row) -> bool {
    let (a, b) = (held.local.ip(), row.local.ip());
    (a == b || a.is_unspecified() || b.is_unspecified()) && may_go_there(held, row)
}

/// Connections to different destinations differ.
fn may_go_there(held: &Held, row: &Row) -> bool {
    held.remote.is_none() || row.remote.is_none()
}

/// Windows lists two sockets of one process, one for each family, as one of both.
fn stands_for(row: &Row, held: &Held) -> bool {
    let is_anywhere = row.local.ip().is_unspecified() && held.local.ip().is_unspecified();
    is_anywhere && row.remote.is_none() && held.remote.is_none() && pid(&held.claim.owner) == row.pid
}

/// The pid in a list: 0 for unowned, 4 for System.
fn pid(owner: &OwnerId) -> u32 {
    match owner {
        OwnerId::Process(id) => id.pid,
        OwnerId::System { .. } => SYSTEM,
        OwnerId::Unowned | OwnerId::Program(_) | OwnerId::Others(_) => 0,
    }
}
