//! The holder sets: a port is in use as long as anyone refers to it.
//!
//! An endpoint that was bound refers to its port strongly, and a connection that was made from it
//! weakly. What remains after `closesocket()` is weak: the connection's way out, and TIME_WAIT. Such
//! a port can be given out again when others have run out, and it is no handle that leaks.

use crate::event::{Acquired, Event, EventKind, HoldId, OwnerId, SocketState};
use rustc_hash::FxHashMap;
use std::net::SocketAddr;

/// More ports than a machine can hold, with many addresses and compartments.
const HOLDS_MAX: usize = 1 << 22;

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

/// Who is known to refer to a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// An endpoint, strongly.
    Endpoint(u64),
    /// A connection, weakly.
    Connection(u64),
}

/// An owner and how far that is to be trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) owner: OwnerId,
    pub(super) trust: Trust,
}

/// A hold and who refers to its port.
#[derive(Clone, Debug)]
struct Held {
    port: u16,
    claim: Claim,
    /// The endpoint, while it refers to the port.
    strong: Option<u64>,
    /// The connections that refer to it.
    weak: Vec<u64>,
    state: SocketState,
    /// The connection that is in TIME_WAIT.
    time_wait: Option<u64>,
    /// Its release has been told: only TIME_WAIT is left.
    released: bool,
}

/// All holds of TCP ports, by those who refer to them.
#[derive(Clone, Debug, Default)]
pub(super) struct Ports {
    holds: FxHashMap<HoldId, Held>,
    /// Endpoints and connections, with the port that they refer to.
    holders: FxHashMap<(u64, u16), HoldId>,
    /// Connections, whatever their port.
    connections: FxHashMap<u64, HoldId>,
    /// The last hold of each port.
    latest: FxHashMap<u16, HoldId>,
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
    pub(super) fn is_held_by(&self, holder: u64, port: u16) -> bool {
        self.holders.contains_key(&(holder, port))
    }

    pub(super) fn has_room(&self) -> bool {
        self.holds.len() < HOLDS_MAX
    }

    /// The hold that a connection belongs to.
    pub(super) fn of_connection(&self, tcb: u64) -> Option<HoldId> {
        self.connections.get(&tcb).copied()
    }

    /// A port is held from now on.
    pub(super) fn enter(&mut self, acquired: &Acquired, holder: Holder, trust: Trust) {
        let (id, port) = (acquired.hold, acquired.port.unwrap_or_default());
        let claim = Claim { owner: acquired.owner.clone(), trust };
        let (strong, holder, weak) = match holder {
            Holder::Endpoint(endpoint) => (Some(endpoint), endpoint, Vec::new()),
            Holder::Connection(tcb) => (None, tcb, vec![tcb]),
        };
        if strong.is_none() {
            self.connections.insert(holder, id);
        }
        self.holders.insert((holder, port), id);
        self.latest.insert(port, id);
        let state = acquired.state;
        self.holds.insert(id, Held { port, claim, strong, weak, state, time_wait: None, released: false });
    }

    /// A connection refers to its endpoint's port. Says which hold that is.
    ///
    /// Nobody says that an endpoint has one name only (`PortAcquirer`, `Endpoint`), so one that is
    /// not known is taken for the one that holds the port.
    pub(super) fn inherit(&mut self, tcb: u64, endpoint: u64, port: u16) -> Option<HoldId> {
        let of_port = || {
            self.latest.get(&port).filter(|id| self.holds.get(id).is_some_and(|held| held.strong.is_some()))
        };
        let id = *self.holders.get(&(endpoint, port)).or_else(of_port)?;
        self.attach(id, tcb);
        Some(id)
    }

    fn attach(&mut self, id: HoldId, tcb: u64) {
        if let Some(held) = self.holds.get_mut(&id)
            && !held.weak.contains(&tcb)
        {
            held.weak.push(tcb);
            self.holders.insert((tcb, held.port), id);
            self.connections.insert(tcb, id);
        }
    }

    /// Another refers to the port in the place of `before`.
    pub(super) fn replace(&mut self, before: u64, after: u64, port: u16) {
        let Some(id) = self.holders.remove(&(before, port)) else {
            return;
        };
        self.holders.insert((after, port), id);
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
        let Some(id) = self.holders.remove(&(holder, port)) else {
            return false;
        };
        self.connections.remove(&holder);
        let Some(held) = self.holds.get_mut(&id) else {
            return false;
        };
        if held.strong == Some(holder) {
            held.strong = None;
        }
        held.weak.retain(|&weak| weak != holder);
        if held.time_wait == Some(holder) {
            held.time_wait = None;
            out.push(EventKind::TimeWaitEnded { hold: id });
        }
        self.settle(id, out);
        true
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
                let port = held.port;
                self.holds.remove(&id);
                if self.latest.get(&port) == Some(&id) {
                    self.latest.remove(&port);
                }
            }
            // All that is left is TIME_WAIT, which is no hold.
            (None, weak) if weak.iter().all(|&weak| held.time_wait == Some(weak)) => {
                if !held.released {
                    held.released = true;
                    out.push(EventKind::Released { hold: id });
                }
            }
            // The socket is closed, its connection on the way out.
            (None, _) => held.go(id, SocketState::Closing, None, out),
            // The connection is gone and the socket still there: a failed connect, or one never closed.
            (Some(_), []) if held.state != SocketState::Listen => {
                held.go(id, SocketState::Bound, None, out);
            }
            (Some(_), _) => {}
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
        if let Some(id) = self.of_connection(tcb)
            && let Some(held) = self.holds.get_mut(&id)
        {
            held.go(id, state, remote, out);
        }
    }

    /// A connection went into TIME_WAIT.
    pub(super) fn wait(&mut self, tcb: u64, out: &mut Out<'_>) {
        let Some(id) = self.of_connection(tcb) else {
            return;
        };
        let Some(held) = self.holds.get_mut(&id).filter(|held| held.time_wait.is_none()) else {
            return;
        };
        held.time_wait = Some(tcb);
        out.push(EventKind::TimeWaitBegan { hold: id });
        if held.strong.is_some() {
            held.go(id, SocketState::Closing, None, out);
        }
        self.settle(id, out);
    }

    /// An endpoint was closed by its program.
    pub(super) fn close(&mut self, endpoint: u64, port: u16, out: &mut Out<'_>) {
        if let Some(&id) = self.holders.get(&(endpoint, port))
            && let Some(held) = self.holds.get_mut(&id)
            && matches!(held.state, SocketState::Connected | SocketState::CloseWait)
        {
            held.go(id, SocketState::Closing, None, out);
        }
    }

    /// More is known of who owns the hold of a connection.
    pub(super) fn claim(&mut self, tcb: u64, claim: Claim, out: &mut Out<'_>) {
        if let Some(id) = self.of_connection(tcb)
            && let Some(held) = self.holds.get_mut(&id)
            && claim.trust > held.claim.trust
        {
            let moved = !same(&held.claim.owner, &claim.owner);
            if moved && !held.released {
                out.push(EventKind::Moved { hold: id, owner: claim.owner.clone() });
            }
            held.claim.trust = claim.trust;
            if moved {
                held.claim.owner = claim.owner;
            }
        }
    }
}

/// A driver whose name one event had and another had not is the same one.
fn same(a: &OwnerId, b: &OwnerId) -> bool {
    matches!((a, b), (OwnerId::System { .. }, OwnerId::System { .. })) || a == b
}

impl Held {
    fn go(&mut self, id: HoldId, state: SocketState, remote: Option<SocketAddr>, out: &mut Out<'_>) {
        if self.released || (self.state == state && remote.is_none()) {
            return;
        }
        self.state = state;
        out.push(EventKind::State { hold: id, state, remote });
    }
}
