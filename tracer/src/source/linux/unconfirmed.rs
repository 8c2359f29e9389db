//! UDP connects whose port is not known yet.
//!
//! The hook runs before the kernel chooses the port and none runs after it, so a while later the
//! namespace's sockets are listed: there the port is, or the connect found none (`EAGAIN`).

use super::ledger::Ledger;
use super::netns::{self, Namespace};
use super::{sock_diag, wire};
use crate::event::{Event, EventKind, Failed, FailureCode, HoldId, NetNs, Protocol};
use rustc_hash::FxHashMap;
use std::path::PathBuf;
use tracer_ebpf::{OwnerKey, flag};

/// How long a connect may take to choose its port before it is looked for.
const SETTLED_NS: u64 = 50_000_000;
/// How often at most sockets are listed for this.
const EVERY_NS: u64 = 200_000_000;

/// A connect that was announced.
#[derive(Clone, Copy, Debug)]
struct Pending {
    at_ns: u64,
    netns: NetNs,
    pid: u32,
}

/// All that were announced and not settled.
#[derive(Debug, Default)]
pub struct Unconfirmed {
    pending: FxHashMap<u64, Pending>,
    looked_ns: u64,
    /// Acquisitions that the probes counted and that turned out not to have happened.
    retracted: FxHashMap<OwnerKey, u64>,
}

impl Unconfirmed {
    /// A connect was announced.
    pub fn announce(&mut self, cookie: u64, at_ns: u64, netns: NetNs, pid: u32) {
        self.pending.insert(cookie, Pending { at_ns, netns, pid });
    }

    /// The probes know more of it by now.
    pub fn settle(&mut self, cookie: u64) {
        if !self.pending.is_empty() {
            self.pending.remove(&cookie);
        }
    }

    /// Acquisitions to subtract from what the probes counted for an owner.
    #[must_use]
    pub fn retracted(&self, owner: &OwnerKey) -> u64 {
        self.retracted.get(owner).copied().unwrap_or_default()
    }

    /// Looks for the ports, if it is time, and tells what became of the connects.
    pub fn look(&mut self, now_ns: u64, ledger: &mut Ledger, events: &mut Vec<Event>) {
        if self.pending.is_empty() || now_ns < self.looked_ns + EVERY_NS {
            return;
        }
        let settled = |pending: &Pending| pending.at_ns + SETTLED_NS <= now_ns;
        let mut by_netns: FxHashMap<NetNs, Vec<(u64, Pending)>> = FxHashMap::default();
        for (&cookie, &pending) in self.pending.iter().filter(|(_, pending)| settled(pending)) {
            by_netns.entry(pending.netns).or_default().push((cookie, pending));
        }
        for (netns, group) in by_netns {
            let pids = group.iter().map(|(_, pending)| pending.pid);
            // A namespace that cannot be entered stays unsettled: held, port unknown.
            if let Some(ports) = find(netns, pids).and_then(|namespace| udp_ports(&namespace)) {
                for (cookie, _) in group {
                    self.conclude(cookie, ports.get(&cookie).copied(), now_ns, ledger, events);
                }
            }
        }
        self.looked_ns = now_ns;
    }

    fn conclude(&mut self, cookie: u64, port: Option<u16>, now_ns: u64, ledger: &mut Ledger, events: &mut Vec<Event>) {
        self.pending.remove(&cookie);
        let hold = HoldId(cookie);
        if let Some(port) = port {
            ledger.learn(cookie, port);
            events.push(Event { at_ns: now_ns, kind: EventKind::PortLearnt { hold, port } });
            return;
        }
        // Not listed: it has no port, unless it was closed meanwhile, which the probes tell.
        let Some(held) = ledger.hold(cookie).filter(|held| held.flags & flag::UNCONFIRMED != 0) else {
            return;
        };
        let Ok(announced) = wire::acquired(hold, &held, 0) else {
            return;
        };
        if ledger.remove_hold(cookie) {
            *self.retracted.entry(held.owner).or_default() += 1;
            let failed = Failed {
                owner: announced.owner,
                pool: announced.pool,
                code: FailureCode::EAGAIN,
                local: Some(announced.local).filter(|local| !local.is_unspecified()),
                remote: announced.remote,
                retracts: Some(hold),
            };
            events.push(Event { at_ns: now_ns, kind: EventKind::Failed(failed) });
        }
    }
}

/// The namespace, through a process that may be inside, or any.
fn find(netns: NetNs, pids: impl Iterator<Item = u32>) -> Option<Namespace> {
    let open = |pid| Namespace::open(&PathBuf::from(format!("/proc/{pid}/ns/net"))).ok();
    let near = pids.filter_map(open).find(|namespace| namespace.id == netns);
    near.or_else(|| netns::all().into_iter().find(|namespace| namespace.id == netns))
}

/// The local ports of a namespace's UDP sockets, by cookie.
fn udp_ports(namespace: &Namespace) -> Option<FxHashMap<u64, u16>> {
    let dump = netns::within(namespace, sock_diag::dump).ok()?.ok()?;
    let udp = dump.rows.into_iter().filter(|row| row.protocol == Protocol::Udp);
    Some(udp.map(|row| (row.cookie, row.local_port)).collect())
}
