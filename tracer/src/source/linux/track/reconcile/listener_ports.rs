//! Ports that somebody has listened on.
//!
//! An accepted socket has its listener's port and chose none. The kernel does not distinguish it from one
//! that did once the listener is closed, so the listener must be remembered.

use crate::event::{Acquired, Protocol, SocketState};
use portleak_ebpf::{Header, Hold, HoldRecord, kind, protocol, state};
use rustc_hash::{FxHashMap, FxHashSet};

/// A TCP socket that may come to listen, or does on a port that is not known yet.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    netns: u32,
    port: u16,
    listens: bool,
}

/// The ports, by namespace.
#[derive(Debug, Default)]
pub(super) struct ListenerPorts {
    ports: FxHashSet<(u32, u16)>,
    candidates: FxHashMap<u64, Candidate>,
    /// Records were lost: a listener may have been missed.
    incomplete: bool,
}

impl ListenerPorts {
    /// The snapshot found a hold.
    pub(super) fn found(&mut self, acquired: &Acquired) {
        if let (Protocol::Tcp, SocketState::Listen, Some(port)) =
            (acquired.pool.protocol, acquired.state, acquired.port)
        {
            self.ports.insert((acquired.pool.netns.0, port));
        }
    }

    /// The ledger has a hold.
    pub(super) fn holds(&mut self, hold: &Hold) {
        if hold.protocol == protocol::TCP && hold.state == state::LISTEN && hold.port != 0 {
            self.ports.insert((hold.netns, hold.port));
        }
    }

    /// A record about a hold came.
    pub(super) fn on_hold(&mut self, record: &HoldRecord) {
        let (hold, cookie) = (&record.hold, record.header.cookie);
        let candidate =
            Candidate { netns: hold.netns, port: hold.port, listens: hold.state == state::LISTEN };
        match hold.state {
            state::BOUND | state::LISTEN if hold.protocol == protocol::TCP => self.keep(cookie, candidate),
            _ => self.forget(cookie),
        }
    }

    /// A record came that is all header.
    pub(super) fn on_header(&mut self, header: &Header) {
        if self.candidates.is_empty() {
            return;
        }
        let Some(mut candidate) = self.candidates.remove(&header.cookie) else {
            return;
        };
        if header.port != 0 {
            candidate.port = header.port;
        }
        candidate.listens |= header.kind == kind::STATE && header.code == state::LISTEN;
        if header.kind != kind::RELEASED {
            self.keep(header.cookie, candidate);
        }
    }

    /// Records were lost.
    pub(super) fn doubt(&mut self) {
        self.incomplete = true;
    }

    /// Whether a socket that is no hold may have been accepted.
    pub(super) fn may_be_accepted(&self, hold: &Hold) -> bool {
        let connection =
            hold.protocol == protocol::TCP && !matches!(hold.state, state::BOUND | state::LISTEN);
        connection && (self.incomplete || self.ports.contains(&(hold.netns, hold.port)))
    }

    fn keep(&mut self, cookie: u64, candidate: Candidate) {
        if candidate.listens && candidate.port != 0 {
            self.candidates.remove(&cookie);
            self.ports.insert((candidate.netns, candidate.port));
        } else {
            self.candidates.insert(cookie, candidate);
        }
    }

    fn forget(&mut self, cookie: u64) {
        if !self.candidates.is_empty() {
            self.candidates.remove(&cookie);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORT: u16 = 40_000;

    fn hold(state: u8, port: u16) -> Hold {
        Hold { netns: 1, protocol: 6, state, port, ..Hold::default() }
    }

    fn record(state: u8, port: u16) -> HoldRecord {
        let header = Header { cookie: 7, kind: kind::ACQUIRED, ..Header::default() };
        HoldRecord { header, hold: hold(state, port) }
    }

    fn header(kind: u8, code: u8, port: u16) -> Header {
        Header { cookie: 7, kind, code, port, ..Header::default() }
    }

    fn accepted(listened: &ListenerPorts) -> bool {
        listened.may_be_accepted(&hold(state::CONNECTED, PORT))
    }

    /// bind ── listen ── close; its connections live on.
    #[test]
    fn a_listener_is_remembered_after_its_end() {
        let mut listened = ListenerPorts::default();
        listened.on_hold(&record(state::BOUND, PORT));
        assert!(!accepted(&listened));
        listened.on_header(&header(kind::STATE, state::LISTEN, 0));
        listened.on_header(&header(kind::RELEASED, 0, 0));
        assert!(accepted(&listened) && listened.candidates.is_empty());
        assert!(!listened.may_be_accepted(&hold(state::BOUND, PORT)), "bound is not accepted");
    }

    #[test]
    fn a_listener_that_was_not_bound_has_its_port_later() {
        let mut listened = ListenerPorts::default();
        listened.on_hold(&record(state::LISTEN, 0));
        listened.on_header(&header(kind::LEARNT, 0, PORT));
        assert!(accepted(&listened));
    }

    #[test]
    fn who_binds_and_connects_or_closes_never_listened() {
        let mut listened = ListenerPorts::default();
        listened.on_hold(&record(state::BOUND, PORT));
        listened.on_hold(&record(state::SYN_SENT, PORT));
        listened.on_hold(&record(state::BOUND, PORT));
        listened.on_header(&header(kind::RELEASED, 0, 0));
        assert!(!accepted(&listened) && listened.candidates.is_empty());
    }

    #[test]
    fn after_a_loss_any_connection_may_be_accepted() {
        let mut listened = ListenerPorts::default();
        listened.doubt();
        assert!(accepted(&listened));
        assert!(!listened.may_be_accepted(&Hold { protocol: 17, ..hold(state::CONNECTED, PORT) }));
    }
}
