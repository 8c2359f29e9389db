//! The holder sets: a port is in use as long as any endpoint or connection refers to it.
//!
//! A bound endpoint refers to its port strongly, a connection made from it weakly. After `closesocket()`
//! only weak references remain: the closing connection, and TIME_WAIT. Windows can hand out such a port
//! again when ports run short, and it is no leaked handle.
//!
//! A holder may be unnamed: a list shows that a socket refers to its port, but not by which pointer. Later
//! events name the holder, or end it.

mod socket_resync;

use crate::event::{Acquired, Event, EventKind, HoldId, OwnerId, SocketState, TimeWaitFound};
use rustc_hash::FxHashMap;
use std::net::SocketAddr;

/// A bound against hostile traces: no machine holds as many ports, with many addresses and compartments.
const HOLDS_MAX: usize = 1 << 22;
/// A holder whose pointer is not known. No kernel object has this address.
pub(super) const UNNAMED: u64 = 0;
/// An event and a list within this time are taken to mean the same socket: they are not simultaneous.
const RACE_NS: u64 = 1_000_000_000;

/// How an owner became known, ordered by reliability.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trust {
    /// It is not known.
    #[default]
    None,
    /// From the thread that wrote an event.
    Thread,
    /// From the process object of the thread's pending request.
    Object,
    /// From a field of an event.
    Field,
}

/// The holders of a port when the hold becomes known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Holders {
    /// The endpoint.
    pub(super) strong: Option<u64>,
    /// The connection.
    pub(super) weak: Option<u64>,
}

impl Holders {
    /// The holders of a socket that was found in this state. `tcb` is its connection, if it has one.
    pub(super) fn found(state: SocketState, tcb: u64) -> Self {
        let is_connected = !matches!(state, SocketState::Bound | SocketState::Listen);
        Self {
            // A closing connection's socket is usually closed.
            strong: (state != SocketState::Closing).then_some(UNNAMED),
            weak: is_connected.then_some(tcb),
        }
    }
}

/// An owner, and how reliable that is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) owner: OwnerId,
    pub(super) trust: Trust,
}

/// A hold and the holders of its port.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) local: SocketAddr,
    pub(super) remote: Option<SocketAddr>,
    pub(super) claim: Claim,
    /// The endpoint, while it refers to the port.
    pub(super) strong: Option<u64>,
    /// The connections that refer to the port.
    weak: Vec<u64>,
    pub(super) state: SocketState,
    /// The connection that is in TIME_WAIT.
    pub(super) time_wait: Option<u64>,
    /// Its release has been emitted: only TIME_WAIT is left.
    pub(super) released: bool,
    /// When an event or list last changed it.
    pub(super) updated_ns: u64,
}

/// A holder's reference to a port.
#[derive(Clone, Copy, Debug)]
struct Reference {
    hold: HoldId,
    /// When the reference was taken, if known. An earlier release belongs to another holder, and arrives
    /// late.
    since_ns: u64,
}

/// All holds of one protocol's ports, indexed by holder and port.
#[derive(Clone, Debug, Default)]
pub(super) struct Ports {
    holds: FxHashMap<HoldId, Held>,
    /// Endpoints and connections, each with its port.
    holders: FxHashMap<(u64, u16), Reference>,
    /// Connections by control block.
    connections: FxHashMap<u64, HoldId>,
    /// The holds of each port, oldest first.
    by_port: FxHashMap<u16, Vec<HoldId>>,
    /// When a hold of each port last ended.
    freed_ns: FxHashMap<u16, u64>,
}

/// Where events are appended, and their time.
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
    /// Whether a holder refers to a port. Notes that it does at `at_ns`.
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

    /// Whether a listener has this port: accepted connections share its port.
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

    /// An unknown TIME_WAIT was found.
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

    /// A connection refers to its endpoint's port. Returns that hold.
    ///
    /// Microsoft does not document that `PortAcquirer` and `Endpoint` are the same pointer. So an unknown
    /// endpoint is taken for the holder of the port.
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

    /// Sets the endpoint that refers to a listed socket's port.
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

    /// A holder takes over the reference of `before`.
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

    /// A holder releases its reference to the port. Returns whether the reference was known.
    pub(super) fn release(&mut self, holder: u64, port: u16, out: &mut Out<'_>) -> bool {
        let Some(known) = self.holders.get(&(holder, port)).copied() else {
            return false;
        };
        if known.since_ns <= out.at_ns {
            self.drop_reference(known.hold, holder, out);
        }
        true
    }

    /// An unknown holder releases its reference: one hold that is known from a list only loses an unnamed
    /// holder. The oldest `preferred` hold comes first, then the oldest of all.
    ///
    /// Returns whether there was one. Microsoft does not document that 1193 always distinguishes weak
    /// references from strong ones. So where no holder of the one kind is left, one of the other kind is
    /// released.
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
            // A list that was begun before may still show the port.
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

    /// Applies what the holder set means now.
    fn settle(&mut self, id: HoldId, out: &mut Out<'_>) {
        let Some(held) = self.holds.get_mut(&id) else {
            return;
        };
        match (held.strong, held.weak.as_slice()) {
            // No holder is left: the port is free.
            (None, []) => {
                if !held.released {
                    out.push(EventKind::Released { hold: id });
                }
                self.forget(id, out.at_ns);
            }
            // Only TIME_WAIT is left, which is no hold.
            (None, weak) if weak.iter().all(|&weak| held.time_wait == Some(weak)) => {
                if !held.released {
                    held.released = true;
                    self.freed_ns.insert(held.local.port(), out.at_ns);
                    out.push(EventKind::Released { hold: id });
                }
            }
            // The socket is closed, its connection is closing.
            (None, _) => held.set_state(id, SocketState::Closing, None, out),
            // The connection is gone, the socket is still open: a failed connect, or a socket never closed.
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
            // It arrives late: the state has changed since.
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

    /// A program closed an endpoint.
    pub(super) fn close(&mut self, endpoint: u64, port: u16, out: &mut Out<'_>) {
        if let Some(&Reference { hold: id, .. }) = self.holders.get(&(endpoint, port))
            && let Some(held) = self.holds.get_mut(&id)
            && matches!(held.state, SocketState::Connected | SocketState::CloseWait)
        {
            held.updated_ns = held.updated_ns.max(out.at_ns);
            held.set_state(id, SocketState::Closing, None, out);
        }
    }

    /// The owner of a connection's hold is known more reliably.
    pub(super) fn claim(&mut self, tcb: u64, claim: Claim, out: &mut Out<'_>) {
        if let Some(id) = self.of_connection(tcb)
            && self.holds.get(&id).is_some_and(|held| claim.trust > held.claim.trust)
        {
            self.set_owner(id, claim, out);
        }
    }

    /// The owner of an endpoint's hold is known more reliably.
    pub(super) fn claim_of_endpoint(&mut self, endpoint: u64, port: u16, claim: Claim, out: &mut Out<'_>) {
        if let Some(&Reference { hold: id, .. }) = self.holders.get(&(endpoint, port))
            && self.holds.get(&id).is_some_and(|held| claim.trust > held.claim.trust)
        {
            self.set_owner(id, claim, out);
        }
    }

    /// Sets the owner of a hold.
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

/// System is one owner, whether or not an event names the driver.
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
