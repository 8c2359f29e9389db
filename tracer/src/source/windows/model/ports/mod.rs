//! The holder sets: a port is in use as long as anyone refers to it.
//!
//! An endpoint that was bound refers to its port strongly, and a connection that was made from it
//! weakly. What remains after `closesocket()` is weak: the connection's way out, and TIME_WAIT. Such
//! a port can be given out again when others have run out, and it is no handle that leaks.
//!
//! A holder may have no name: of a socket that was only listed, it is known that it refers to its port,
//! but not what it is called. Events that follow give it one, or end it.

mod socket_resync;

use crate::event::{Acquired, Event, EventKind, HoldId, OwnerId, SocketState, TimeWaitFound};
use rustc_hash::FxHashMap;
use std::net::SocketAddr;

/// More ports than a machine can hold, with many addresses and compartments.
const HOLDS_MAX: usize = 1 << 22;
/// A holder whose name is not known; no kernel has anything at this address.
pub(super) const UNNAMED: u64 = 0;
/// Events and lists are not of the same instant: within this time, they are taken to mean one socket.
const RACE_NS: u64 = 1_000_000_000;

/// How an owner became known; ordered by how far it is to be trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trust {
    /// It is not known.
    #[default]
    None,
    /// The thread on which an event was written.
    Thread,
    /// The kernel's process object of the request that the thread was in.
    Object,
    /// A field of an event.
    Field,
}

/// Who refers to a port when it becomes known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Holders {
    /// The endpoint.
    pub(super) strong: Option<u64>,
    /// The connection.
    pub(super) weak: Option<u64>,
}

impl Holders {
    /// Who refers to the port of a socket that was met in this state; `tcb` is its connection, if it
    /// has one.
    pub(super) fn found(state: SocketState, tcb: u64) -> Self {
        let is_connected = !matches!(state, SocketState::Bound | SocketState::Listen);
        Self {
            // What is on its way out has been closed, as a rule.
            strong: (state != SocketState::Closing).then_some(UNNAMED),
            weak: is_connected.then_some(tcb),
        }
    }
}

/// An owner and how far that is to be trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) owner: OwnerId,
    pub(super) trust: Trust,
}

/// A hold and who refers to its port.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) local: SocketAddr,
    pub(super) remote: Option<SocketAddr>,
    pub(super) claim: Claim,
    /// The endpoint, while it refers to the port.
    pub(super) strong: Option<u64>,
    /// The connections that refer to it.
    weak: Vec<u64>,
    pub(super) state: SocketState,
    /// The connection that is in TIME_WAIT.
    pub(super) time_wait: Option<u64>,
    /// Its release has been told: only TIME_WAIT is left.
    pub(super) released: bool,
    /// When it was last heard of.
    pub(super) updated_ns: u64,
}

/// A holder's reference to a port.
#[derive(Clone, Copy, Debug)]
struct Reference {
    hold: HoldId,
    /// When it was taken, as far as is known: a release from before is of another, told late.
    since_ns: u64,
}

/// All holds of one protocol's ports, by those who refer to them.
#[derive(Clone, Debug, Default)]
pub(super) struct Ports {
    holds: FxHashMap<HoldId, Held>,
    /// Endpoints and connections, with the port that they refer to.
    holders: FxHashMap<(u64, u16), Reference>,
    /// Connections, whatever their port.
    connections: FxHashMap<u64, HoldId>,
    /// The holds of each port, oldest first.
    by_port: FxHashMap<u16, Vec<HoldId>>,
    /// When a hold of each port last ended.
    freed_ns: FxHashMap<u16, u64>,
}

/// Where events go, and when they happened.
pub(super) struct Out<'a> {
    pub(super) at_ns: u64,
    pub(super) events: &'a mut Vec<Event>,
}

impl Out<'_> {
    pub(super) fn push(&mut self, kind: EventKind) {
        self.events.push(Event { at_ns: self.at_ns, kind });
    }
}

impl Ports {
    /// Whether a holder refers to a port; it does at this instant.
    pub(super) fn is_held_by(&mut self, holder: u64, port: u16, at_ns: u64) -> bool {
        let known = self.holders.get_mut(&(holder, port));
        known.map(|known| known.since_ns = known.since_ns.max(at_ns)).is_some()
    }

    pub(super) fn has_room(&self) -> bool {
        self.holds.len() < HOLDS_MAX
    }

    /// The hold that a connection belongs to.
    pub(super) fn of_connection(&self, tcb: u64) -> Option<HoldId> {
        self.connections.get(&tcb).copied()
    }

    pub(super) fn get(&self, id: HoldId) -> Option<&Held> {
        self.holds.get(&id)
    }

    /// The holds of a port, oldest first.
    pub(super) fn of_port(&self, port: u16) -> &[HoldId] {
        self.by_port.get(&port).map_or(&[], Vec::as_slice)
    }

    /// Whether connections are accepted on a port: theirs is their listener's.
    pub(super) fn is_listening(&self, port: u16) -> bool {
        self.find(port, |held| held.state == SocketState::Listen).is_some()
    }

    /// All ports that are held.
    pub(super) fn all(&self) -> impl Iterator<Item = u16> {
        self.by_port.keys().copied()
    }

    /// Whether a hold of this port has ended at `since_ns` or later.
    pub(super) fn was_freed(&self, port: u16, since_ns: u64) -> bool {
        self.freed_ns.get(&port).is_some_and(|&at_ns| at_ns >= since_ns)
    }

    /// A port is held from now on.
    pub(super) fn enter(&mut self, acquired: &Acquired, holders: Holders, trust: Trust, at_ns: u64) {
        let held = Held {
            local: SocketAddr::new(acquired.local, acquired.port.unwrap_or_default()),
            remote: acquired.remote,
            claim: Claim { owner: acquired.owner.clone(), trust },
            strong: holders.strong,
            weak: holders.weak.into_iter().collect(),
            state: acquired.state,
            time_wait: None,
            released: false,
            updated_ns: at_ns,
        };
        self.insert(acquired.hold, held);
    }

    /// A TIME_WAIT was met that nothing was known of.
    pub(super) fn enter_time_wait(&mut self, local: SocketAddr, tcb: u64, found: &TimeWaitFound, at_ns: u64) {
        let held = Held {
            local,
            remote: found.remote,
            claim: Claim { owner: OwnerId::Unowned, trust: Trust::None },
            strong: None,
            weak: vec![tcb],
            state: SocketState::Closing,
            time_wait: Some(tcb),
            released: true,
            updated_ns: at_ns,
        };
        self.insert(found.hold, held);
    }

    fn insert(&mut self, id: HoldId, held: Held) {
        let port = held.local.port();
        for &holder in held.strong.iter().chain(&held.weak).filter(|&&holder| holder != UNNAMED) {
            self.holders.insert((holder, port), Reference { hold: id, since_ns: held.updated_ns });
        }
        for &tcb in held.weak.iter().filter(|&&tcb| tcb != UNNAMED) {
            self.connections.insert(tcb, id);
        }
        self.by_port.entry(port).or_default().push(id);
        self.holds.insert(id, held);
    }

    /// A connection refers to its endpoint's port. Says which hold that is.
    ///
    /// Nobody says that an endpoint has one name only (`PortAcquirer`, `Endpoint`), so one that is
    /// not known is taken for the one that holds the port.
    pub(super) fn inherit(&mut self, tcb: u64, endpoint: u64, port: u16, at_ns: u64) -> Option<HoldId> {
        let unnamed = || {
            let is_idle = |held: &Held| matches!(held.state, SocketState::Bound | SocketState::Listen);
            self.find(port, |held| held.strong == Some(UNNAMED) && is_idle(held))
        };
        let id = match self.holders.get(&(endpoint, port)) {
            Some(known) => known.hold,
            None => match unnamed() {
                Some(id) => {
                    self.set_endpoint(id, endpoint);
                    id
                }
                None => {
                    let mut latest = self.of_port(port).iter().rev();
                    *latest.find(|id| self.holds.get(id).is_some_and(|held| held.strong.is_some()))?
                }
            },
        };
        self.attach(id, tcb, at_ns);
        Some(id)
    }

    fn attach(&mut self, id: HoldId, tcb: u64, at_ns: u64) {
        let Some(held) = self.holds.get_mut(&id) else {
            return;
        };
        let port = held.local.port();
        let known = self.holders.get(&(tcb, port)).map_or(0, |known| known.since_ns);
        self.holders.insert((tcb, port), Reference { hold: id, since_ns: at_ns.max(known) });
        if held.weak.contains(&tcb) {
            return;
        }
        held.updated_ns = held.updated_ns.max(at_ns);
        match held.weak.iter_mut().find(|weak| **weak == UNNAMED) {
            Some(unnamed) => *unnamed = tcb,
            None => held.weak.push(tcb),
        }
        if held.time_wait == Some(UNNAMED) {
            held.time_wait = Some(tcb);
        }
        self.connections.insert(tcb, id);
    }

    /// The endpoint that refers to a listed socket's port has this name.
    fn set_endpoint(&mut self, id: HoldId, endpoint: u64) {
        if let Some(held) = self.holds.get_mut(&id) {
            held.strong = Some(endpoint);
            self.holders.insert((endpoint, held.local.port()), Reference { hold: id, since_ns: 0 });
        }
    }

    /// The oldest hold of a port that is `wanted`.
    pub(super) fn find(&self, port: u16, wanted: impl Fn(&Held) -> bool) -> Option<HoldId> {
        self.of_port(port).iter().copied().find(|id| self.holds.get(id).is_some_and(&wanted))
    }

    /// Another refers to the port in the place of `before`.
    pub(super) fn replace(&mut self, before: u64, after: u64, port: u16) {
        let Some(known) = self.holders.remove(&(before, port)) else {
            if let Some(id) = self.find(port, |held| held.strong == Some(UNNAMED)) {
                self.set_endpoint(id, after);
            }
            return;
        };
        let id = known.hold;
        self.holders.insert((after, port), known);
        if let Some(held) = self.holds.get_mut(&id) {
            if held.strong == Some(before) {
                held.strong = Some(after);
            }
            if let Some(weak) = held.weak.iter_mut().find(|weak| **weak == before) {
                *weak = after;
                self.connections.remove(&before);
                self.connections.insert(after, id);
            }
        }
    }

    /// An endpoint or connection no longer refers to the port. Says whether it was known to.
    pub(super) fn release(&mut self, holder: u64, port: u16, out: &mut Out<'_>) -> bool {
        let Some(known) = self.holders.get(&(holder, port)).copied() else {
            return false;
        };
        if known.since_ns <= out.at_ns {
            self.drop_reference(known.hold, holder, out);
        }
        true
    }

    /// One that was never seen no longer refers to the port: a hold that was only listed has one
    /// holder less. Where there are several, it is the oldest that is `preferred`, or the oldest.
    ///
    /// Says whether there was one. Nobody says that events 1193 always tell weak references from strong ones, so where none of
    /// the one kind is left, it was of the other.
    pub(super) fn release_unnamed(
        &mut self,
        port: u16,
        weak: bool,
        preferred: impl Fn(&Held) -> bool,
        out: &mut Out<'_>,
    ) -> bool {
        let has = |held: &Held, weak: bool| {
            if weak { held.weak.contains(&UNNAMED) } else { held.strong == Some(UNNAMED) }
        };
        let best = |weak: bool| {
            let of_kind = self.find(port, |held| has(held, weak) && preferred(held));
            let of_kind = of_kind.or_else(|| self.find(port, |held| has(held, weak)));
            of_kind.map(|id| (id, weak))
        };
        let Some((id, weak)) = best(weak).or_else(|| best(!weak)) else {
            // It may be listed nevertheless, by a list that was begun before.
            self.freed_ns.insert(port, out.at_ns);
            return false;
        };
        self.drop_reference_of_kind(id, UNNAMED, weak, out);
        true
    }

    fn drop_reference(&mut self, id: HoldId, holder: u64, out: &mut Out<'_>) {
        let weak = self.holds.get(&id).is_some_and(|held| held.strong != Some(holder));
        self.drop_reference_of_kind(id, holder, weak, out);
    }

    fn drop_reference_of_kind(&mut self, id: HoldId, holder: u64, weak: bool, out: &mut Out<'_>) {
        let Some(held) = self.holds.get_mut(&id) else {
            return;
        };
        self.holders.remove(&(holder, held.local.port()));
        held.updated_ns = held.updated_ns.max(out.at_ns);
        if weak {
            self.connections.remove(&holder);
            held.weak.retain(|&weak| weak != holder);
            if held.time_wait == Some(holder) {
                held.time_wait = None;
                out.push(EventKind::TimeWaitEnded { hold: id });
            }
        } else {
            held.strong = None;
        }
        self.settle(id, out);
    }

    /// What the holder set means now.
    fn settle(&mut self, id: HoldId, out: &mut Out<'_>) {
        let Some(held) = self.holds.get_mut(&id) else {
            return;
        };
        match (held.strong, held.weak.as_slice()) {
            // Nobody refers to it: the port is free.
            (None, []) => {
                if !held.released {
                    out.push(EventKind::Released { hold: id });
                }
                self.forget(id, out.at_ns);
            }
            // All that is left is TIME_WAIT, which is no hold.
            (None, weak) if weak.iter().all(|&weak| held.time_wait == Some(weak)) => {
                if !held.released {
                    held.released = true;
                    self.freed_ns.insert(held.local.port(), out.at_ns);
                    out.push(EventKind::Released { hold: id });
                }
            }
            // The socket is closed, its connection on the way out.
            (None, _) => held.set_state(id, SocketState::Closing, None, out),
            // The connection is gone and the socket still there: a failed connect, or one never closed.
            (Some(_), []) if held.state != SocketState::Listen => {
                held.remote = None;
                held.set_state(id, SocketState::Bound, None, out);
            }
            (Some(_), _) => {}
        }
    }

    fn forget(&mut self, id: HoldId, at_ns: u64) {
        let Some(held) = self.holds.remove(&id) else {
            return;
        };
        let port = held.local.port();
        for holder in held.strong.into_iter().chain(held.weak) {
            self.holders.remove(&(holder, port));
            self.connections.remove(&holder);
        }
        self.freed_ns.insert(port, at_ns);
        if let Some(holds) = self.by_port.get_mut(&port) {
            holds.retain(|&hold| hold != id);
            if holds.is_empty() {
                self.by_port.remove(&port);
            }
        }
    }

    /// A connection changed its state, or its destination became known.
    pub(super) fn change(
        &mut self,
        tcb: u64,
        state: SocketState,
        remote: Option<SocketAddr>,
        out: &mut Out<'_>,
    ) {
        let Some(id) = self.of_connection(tcb) else {
            return;
        };
        let Some(held) = self.holds.get_mut(&id).filter(|held| held.state != SocketState::Listen) else {
            return;
        };
        if out.at_ns >= held.updated_ns {
            held.updated_ns = held.updated_ns.max(out.at_ns);
            held.set_state(id, state, remote, out);
        } else if held.remote.is_none() && remote.is_some() {
            // Told late: its state has changed since.
            held.set_state(id, held.state, remote, out);
        }
    }

    /// A connection went into TIME_WAIT.
    pub(super) fn begin_time_wait(&mut self, tcb: u64, out: &mut Out<'_>) {
        if let Some(id) = self.of_connection(tcb) {
            self.begin_time_wait_as(id, tcb, out);
        }
    }

    fn begin_time_wait_as(&mut self, id: HoldId, tcb: u64, out: &mut Out<'_>) {
        let waits = |held: &&mut Held| held.time_wait.is_none() && held.state != SocketState::Listen;
        let Some(held) = self.holds.get_mut(&id).filter(waits) else {
            return;
        };
        held.updated_ns = held.updated_ns.max(out.at_ns);
        held.time_wait = Some(tcb);
        out.push(EventKind::TimeWaitBegan { hold: id });
        if held.strong.is_some() {
            held.set_state(id, SocketState::Closing, None, out);
        }
        self.settle(id, out);
    }

    /// An endpoint was closed by its program.
    pub(super) fn close(&mut self, endpoint: u64, port: u16, out: &mut Out<'_>) {
        if let Some(&Reference { hold: id, .. }) = self.holders.get(&(endpoint, port))
            && let Some(held) = self.holds.get_mut(&id)
            && matches!(held.state, SocketState::Connected | SocketState::CloseWait)
        {
            held.updated_ns = held.updated_ns.max(out.at_ns);
            held.set_state(id, SocketState::Closing, None, out);
        }
    }

    /// More is known of who owns the hold of a connection.
    pub(super) fn claim(&mut self, tcb: u64, claim: Claim, out: &mut Out<'_>) {
        if let Some(id) = self.of_connection(tcb)
            && self.holds.get(&id).is_some_and(|held| claim.trust > held.claim.trust)
        {
            self.set_owner(id, claim, out);
        }
    }

    /// More is known of who owns the hold of an endpoint.
    pub(super) fn claim_of_endpoint(&mut self, endpoint: u64, port: u16, claim: Claim, out: &mut Out<'_>) {
        if let Some(&Reference { hold: id, .. }) = self.holders.get(&(endpoint, port))
            && self.holds.get(&id).is_some_and(|held| claim.trust > held.claim.trust)
        {
            self.set_owner(id, claim, out);
        }
    }

    /// A hold is this owner's.
    pub(super) fn set_owner(&mut self, id: HoldId, claim: Claim, out: &mut Out<'_>) {
        let Some(held) = self.holds.get_mut(&id) else {
            return;
        };
        held.claim.trust = claim.trust;
        if !same(&held.claim.owner, &claim.owner) {
            if !held.released {
                out.push(EventKind::Moved { hold: id, owner: claim.owner.clone() });
            }
            held.claim.owner = claim.owner;
        }
    }
}

/// A driver whose name one event had and another had not is the same one.
fn same(a: &OwnerId, b: &OwnerId) -> bool {
    matches!((a, b), (OwnerId::System { .. }, OwnerId::System { .. })) || a == b
}

impl Held {
    fn set_state(&mut self, id: HoldId, state: SocketState, remote: Option<SocketAddr>, out: &mut Out<'_>) {
        if self.released || (self.state == state && remote.is_none()) {
            return;
        }
        self.state = state;
        self.remote = remote.or(self.remote);
        out.push(EventKind::State { hold: id, state, remote });
    }
}
