//! Connections: their destinations, the ports they inherit from their endpoints, and their states.

use super::ports::{Holders, Out, Trust};
use super::{Context, Model, TIME_WAIT_MAX_NS};
use crate::event::{Acquired, EventKind, LossStage, OwnerId, Protocol, SocketState, TimeWaitFound};
use crate::source::windows::decoded_event::{Connection, PortReference};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A bound against hostile traces: no machine has as many connections at once.
const CONNECTIONS_MAX: usize = 1 << 22;
/// How long a pending connection is kept. Windows gives up a connect after 21 s.
const PENDING_NS: u64 = 600_000_000_000;

/// A connection's destination, kept until its port is known.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Destination {
    remote: Option<SocketAddr>,
    port: Option<u16>,
    /// The endpoint and port that it refers to, while that endpoint is not known.
    inherited: Option<(u64, u16)>,
    /// When its destination became known.
    since_ns: u64,
}

impl Model {
    /// 1192: a connection references its endpoint's port, or failed to.
    pub(super) fn inherit(&mut self, reference: PortReference, context: &mut Context<'_, '_>) {
        if !reference.weak {
            return;
        }
        let port = self.port_byte_order.read(reference.port);
        let (tcb, endpoint, at_ns) = (reference.acquirer, reference.original, context.out.at_ns);
        if self.tcp.inherit(tcb, endpoint, port, context.out.at_ns).is_some() {
            let destination = self.destination(tcb, context.out.at_ns);
            if destination.port.is_some() {
                // The control block was another connection's; its release arrives late or was lost.
                *destination = Destination { since_ns: at_ns, ..Destination::default() };
            }
            destination.port = Some(port);
            if let Some(remote) = destination.remote {
                self.tcp.change(tcb, SocketState::SynSent, Some(remote), &mut context.out);
            }
            if self.reordered_waits.take(tcb, 0, context.out.at_ns) {
                self.tcp.begin_time_wait(tcb, &mut context.out);
            }
            if self.reordered_releases.take(tcb, port, context.out.at_ns) {
                self.release(reference, context);
            }
            return;
        }
        self.destination(tcb, context.out.at_ns).inherited = Some((endpoint, port));
        self.adopt(tcb, context);
    }

    /// A connection from an endpoint that was bound before the trace began: the hold is found now. An
    /// accepted connection is not adopted: it takes no port of its own.
    fn adopt(&mut self, tcb: u64, context: &mut Context<'_, '_>) {
        let Some(&Destination { remote: Some(remote), inherited: Some((endpoint, port)), .. }) =
            self.destinations.get(&tcb)
        else {
            return;
        };
        if !self.ranges.contains(Protocol::Tcp, port, false, &mut context.out) {
            return;
        }
        let claim = self.claim_of(endpoint, context);
        let local = SocketAddr::new(unspecified(remote), port);
        let acquired = Acquired { pre_existing: true, ..self.hold(Protocol::Tcp, &claim.owner, local) };
        self.endpoints.bind(endpoint, port);
        let holders = Holders { strong: Some(endpoint), weak: None };
        self.begin(acquired, holders, claim.trust, &mut context.out);
        self.tcp.inherit(tcb, endpoint, port, context.out.at_ns);
        let destination = self.destination(tcb, context.out.at_ns);
        (destination.port, destination.inherited) = (Some(port), None);
        self.tcp.change(tcb, SocketState::SynSent, Some(remote), &mut context.out);
    }

    /// 1002: a program requests a connection.
    pub(super) fn connect(&mut self, connection: &Connection, context: &mut Context<'_, '_>) {
        let tcb = connection.tcb;
        if let Some(before) = self.destinations.get(&tcb)
            && before.remote.is_some()
            && before.since_ns < context.out.at_ns
            && let Some(port) = before.port
        {
            // The control block was another connection's; its release was lost.
            self.tcp.release(tcb, port, &mut context.out);
            self.destinations.remove(&tcb);
        }
        self.recognise(connection);
        let destination = self.destination(tcb, context.out.at_ns);
        (destination.remote, destination.since_ns) = (connection.remote, context.out.at_ns);
        self.tcp.change(tcb, SocketState::SynSent, connection.remote, &mut context.out);
        self.adopt(tcb, context);
    }

    /// 1033: a connection was established.
    pub(super) fn connected(&mut self, connection: &Connection, context: &mut Context<'_, '_>) {
        self.claim(connection, context);
        self.tcp.change(connection.tcb, SocketState::Connected, connection.remote, &mut context.out);
    }

    /// 1034: a connect was rejected or timed out. The socket keeps its port.
    pub(super) fn fail(&mut self, connection: &Connection, context: &mut Context<'_, '_>) {
        self.claim(connection, context);
        self.tcp.change(connection.tcb, SocketState::Bound, None, &mut context.out);
        self.destinations.remove(&connection.tcb);
    }

    /// The connection may be one that is known from a list only.
    fn recognise(&mut self, connection: &Connection) {
        if let Some((local, remote)) = connection.local.zip(connection.remote) {
            self.tcp.recognise_connection(connection.tcb, local, remote);
        }
    }

    pub(super) fn claim(&mut self, connection: &Connection, context: &mut Context<'_, '_>) {
        self.recognise(connection);
        if connection.pid != 0 {
            let claim =
                self.named(connection.pid, connection.start_key, Trust::Field, None, &mut context.out);
            self.tcp.claim(connection.tcb, claim, &mut context.out);
        }
    }

    /// 1051: the states of RFC 9293, in Windows' numbers.
    pub(super) fn change(&mut self, tcb: u64, state: u32, context: &mut Context<'_, '_>) {
        let state = match state {
            4 => SocketState::Connected,
            7 => SocketState::CloseWait,
            5 | 6 | 8 | 9 => SocketState::Closing,
            10 if self.tcp.of_connection(tcb).is_none() => {
                return self.reordered_waits.keep(tcb, 0, context.out.at_ns);
            }
            10 => return self.tcp.begin_time_wait(tcb, &mut context.out),
            // 0, 1: its holders report the same. 2: 1002 reported it. 3: it was accepted.
            _ => return,
        };
        self.tcp.change(tcb, state, None, &mut context.out);
    }

    /// 1300: a connection from before the trace.
    pub(super) fn find(&mut self, connection: &Connection, state: u32, context: &mut Context<'_, '_>) {
        let Some((local, remote)) = connection.local.zip(connection.remote) else {
            return;
        };
        self.recognise(connection);
        let is_known = self.tcp.of_connection(connection.tcb).is_some();
        let was_accepted = self.tcp.is_listening(local.port());
        if is_known
            || was_accepted
            || !self.ranges.contains(Protocol::Tcp, local.port(), false, &mut context.out)
        {
            return;
        }
        let state = match state {
            2 => SocketState::SynSent,
            4 => SocketState::Connected,
            7 => SocketState::CloseWait,
            5 | 6 | 8 | 9 => SocketState::Closing,
            10 => return self.add_time_wait(local, remote, connection.tcb, &mut context.out),
            _ => return,
        };
        let claim = self.named(connection.pid, connection.start_key, Trust::Field, None, &mut context.out);
        let acquired = self.hold(Protocol::Tcp, &claim.owner, local);
        let acquired = Acquired { pre_existing: true, remote: Some(remote), state, ..acquired };
        self.begin(acquired, Holders::found(state, connection.tcb), claim.trust, &mut context.out);
        let since_ns = context.out.at_ns;
        *self.destination(connection.tcb, since_ns) =
            Destination { remote: Some(remote), port: Some(local.port()), inherited: None, since_ns };
    }

    /// A connection was found in TIME_WAIT.
    pub(super) fn add_time_wait(
        &mut self,
        local: SocketAddr,
        remote: SocketAddr,
        tcb: u64,
        out: &mut Out<'_>,
    ) {
        if !self.tcp.has_room() {
            return out.push(EventKind::Lost { count: 1, stage: LossStage::Table });
        }
        let Acquired { hold, pool, .. } = self.hold(Protocol::Tcp, &OwnerId::Unowned, local);
        let ends_ns = out.at_ns.saturating_add(TIME_WAIT_MAX_NS);
        let found = TimeWaitFound { hold, pool, remote: Some(remote), ends_ns };
        self.tcp.enter_time_wait(local, tcb, &found, out.at_ns);
        out.push(EventKind::TimeWaitFound(found));
    }

    /// The destination of a connection, if it is known.
    pub(super) fn destination_of(&self, tcb: u64) -> Option<SocketAddr> {
        self.destinations.get(&tcb).and_then(|destination| destination.remote)
    }

    fn destination(&mut self, tcb: u64, at_ns: u64) -> &mut Destination {
        if self.destinations_sweep.is_due(self.destinations.len()) {
            let ports = &self.tcp;
            let is_full = self.destinations.len() >= CONNECTIONS_MAX;
            let is_young =
                |known: &Destination| !is_full && known.since_ns.saturating_add(PENDING_NS) > at_ns;
            self.destinations.retain(|tcb, known| ports.of_connection(*tcb).is_some() || is_young(known));
            self.destinations_sweep.done(self.destinations.len());
        }
        let new = || Destination { since_ns: at_ns, ..Destination::default() };
        self.destinations.entry(tcb).or_insert_with(new)
    }
}

/// The unspecified address of the same family.
fn unspecified(address: SocketAddr) -> IpAddr {
    if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
}
