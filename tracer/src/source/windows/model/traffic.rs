//! Connections from the kernel logger's traffic, for traces without the stack's own events.
//!
//! The traffic shows connections that begin and end, and earlier connections with their first data. It does
//! not show bound sockets without traffic. It never shows the release of a UDP port, so UDP is left out.

use super::{Context, Model};
use crate::event::{Acquired, EventKind, HoldId, LossStage, Protocol, SocketState};
use crate::source::windows::decoded_event::{Traffic, TrafficKind};
use rustc_hash::{FxHashMap, FxHashSet};
use std::net::SocketAddr;

/// A bound against hostile traces: no machine has as many connections at once.
const CONNECTIONS_MAX: usize = 1 << 22;

/// The connections by their two addresses.
#[derive(Clone, Debug, Default)]
pub(super) struct Connections {
    holds: FxHashMap<(SocketAddr, SocketAddr), HoldId>,
    /// Ports of the pool that accepted connections: those connections take no port.
    listeners: FxHashSet<u16>,
}

impl Model {
    pub(super) fn apply_traffic(&mut self, traffic: &Traffic, context: &mut Context<'_, '_>) {
        let ends = (traffic.local, traffic.remote);
        if traffic.protocol == Protocol::Udp {
            return;
        }
        match traffic.kind {
            TrafficKind::Accepted => {
                self.traffic.listeners.insert(traffic.local.port());
            }
            TrafficKind::Disconnected => {
                if let Some(hold) = self.traffic.holds.remove(&ends) {
                    context.out.push(EventKind::Released { hold });
                }
            }
            TrafficKind::Connected => {
                // The end of an earlier connection between these addresses was lost.
                if let Some(hold) = self.traffic.holds.remove(&ends) {
                    context.out.push(EventKind::Released { hold });
                }
                self.acquire_seen(traffic, false, context);
            }
            TrafficKind::Sent | TrafficKind::Received => {
                if !self.traffic.holds.contains_key(&ends) {
                    self.acquire_seen(traffic, true, context);
                }
            }
        }
    }

    fn acquire_seen(&mut self, traffic: &Traffic, pre_existing: bool, context: &mut Context<'_, '_>) {
        let port = traffic.local.port();
        let accepted = self.traffic.listeners.contains(&port);
        let is_full = self.traffic.holds.len() >= CONNECTIONS_MAX;
        if accepted || !self.ranges.contains(Protocol::Tcp, port, false, &mut context.out) {
            return;
        }
        if is_full {
            return context.out.push(EventKind::Lost { count: 1, stage: LossStage::Table });
        }
        let owner = self.processes.owner(context.out.at_ns, traffic.pid, None, None, context.out.events);
        let acquired = Acquired {
            pre_existing,
            remote: Some(traffic.remote),
            state: SocketState::Connected,
            ..self.hold(Protocol::Tcp, &owner, traffic.local)
        };
        self.traffic.holds.insert((traffic.local, traffic.remote), acquired.hold);
        context.out.push(EventKind::Acquired(acquired));
    }
}
