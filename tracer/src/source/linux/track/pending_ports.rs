//! Holds whose port is not known yet.
//!
//! A `connect()` or `listen()` is seen before the kernel chooses the port. TCP shows the number at
//! the socket's next change of state, which for a connection is a round trip later and for a
//! listener may be never. UDP shows nothing more until the socket is closed, not even that there
//! was no port to be had (`EAGAIN`). So after a while the namespace's sockets are listed.

use crate::event::{Event, EventKind, Failed, FailureCode, HoldId, NetNs, Protocol};
use crate::source::linux::bpf::ledger::Ledger;
use crate::source::linux::bpf::wire;
use crate::source::linux::kernel::netns::{self, Namespace};
use crate::source::linux::kernel::sock_diag;
use portleak_ebpf::{Hold, HoldRecord, flag};
use rustc_hash::FxHashMap;

/// `IPPROTO_TCP`.
const TCP: u8 = 6;
const MILLISECOND_NS: u64 = 1_000_000;

/// How patient to be with a protocol.
struct Patience {
    protocol: Protocol,
    /// How old a hold must be before it is looked for.
    settled_ns: u64,
    /// How often at most sockets are listed.
    every_ns: u64,
}

/// UDP soon, for a failure hides there; TCP for the number only, and there may be many sockets.
const PATIENCE: [Patience; 2] = [
    Patience { protocol: Protocol::Udp, settled_ns: 50 * MILLISECOND_NS, every_ns: 200 * MILLISECOND_NS },
    Patience {
        protocol: Protocol::Tcp,
        settled_ns: 1_000 * MILLISECOND_NS,
        every_ns: 5_000 * MILLISECOND_NS,
    },
];

/// A hold that was announced.
#[derive(Clone, Copy, Debug)]
struct Pending {
    at_ns: u64,
    netns: NetNs,
    pid: u32,
}

/// All that were announced and not settled.
#[derive(Debug, Default)]
pub struct PendingPorts {
    pending: [FxHashMap<u64, Pending>; PATIENCE.len()],
    looked_ns: [u64; PATIENCE.len()],
}

impl PendingPorts {
    /// A hold was announced.
    pub fn announce(&mut self, record: &HoldRecord) {
        let (hold, at_ns) = (&record.hold, record.header.at_ns);
        let pending = Pending { at_ns, netns: NetNs(hold.netns), pid: hold.owner.pid };
        let [udp, tcp] = &mut self.pending;
        let group = if hold.protocol == 17 { udp } else { tcp };
        group.insert(record.header.cookie, pending);
    }

    /// The probes know more of it by now.
    pub fn settle(&mut self, cookie: u64) {
        for group in &mut self.pending {
            if !group.is_empty() {
                group.remove(&cookie);
            }
        }
    }

    /// Looks for the ports, where it is time, and tells what became of the holds.
    pub fn look(&mut self, now_ns: u64, ledger: &mut Ledger, events: &mut Vec<Event>) {
        for (which, patience) in PATIENCE.iter().enumerate() {
            if self.pending[which].is_empty() || now_ns < self.looked_ns[which] + patience.every_ns {
                continue;
            }
            self.looked_ns[which] = now_ns;
            for (netns, group) in self.settled(which, now_ns.saturating_sub(patience.settled_ns)) {
                let pids = group.iter().map(|(_, pending)| pending.pid);
                // A namespace that cannot be entered stays unsettled: held, port unknown.
                let ports =
                    netns::find(netns, pids).and_then(|namespace| ports(&namespace, patience.protocol));
                for (cookie, pending) in ports.iter().flat_map(|_| &group) {
                    self.pending[which].remove(cookie);
                    let port = ports.as_ref().and_then(|ports| ports.get(cookie).copied());
                    let kind = still_open(*cookie, pending, ledger)
                        .and_then(|hold| conclude(*cookie, &hold, port, ledger));
                    events.extend(kind.map(|kind| Event { at_ns: now_ns, kind }));
                }
            }
        }
    }

    /// Those announced before `until_ns`, by namespace.
    fn settled(&self, which: usize, until_ns: u64) -> FxHashMap<NetNs, Vec<(u64, Pending)>> {
        let mut by_netns: FxHashMap<NetNs, Vec<_>> = FxHashMap::default();
        for (&cookie, &pending) in self.pending[which].iter().filter(|(_, pending)| pending.at_ns <= until_ns)
        {
            by_netns.entry(pending.netns).or_default().push((cookie, pending));
        }
        by_netns
    }
}

/// The hold as it was announced, if nothing more is known of it yet. The socket may have another
/// by now, of which its listing says nothing: a disconnect and a connect take no time.
fn still_open(cookie: u64, pending: &Pending, ledger: &Ledger) -> Option<Hold> {
    let announced = |hold: &Hold| hold.acquired_ns == pending.at_ns && hold.flags & flag::UNCONFIRMED != 0;
    ledger.hold(cookie).filter(announced)
}

/// What the list says of a hold.
fn conclude(cookie: u64, hold: &Hold, port: Option<u16>, ledger: &mut Ledger) -> Option<EventKind> {
    match port {
        Some(port) => {
            ledger.learn(cookie, port);
            Some(EventKind::PortLearnt { hold: HoldId(cookie), port })
        }
        // What became of a TCP socket that is not listed, its tracepoints tell.
        None if hold.protocol == TCP => None,
        None => retract(cookie, hold, ledger),
    }
}

/// A UDP socket is not listed: it has no port, unless it was closed meanwhile, which the probes tell.
fn retract(cookie: u64, hold: &Hold, ledger: &mut Ledger) -> Option<EventKind> {
    let announced = wire::acquired(HoldId(cookie), hold, 0).ok()?;
    ledger.retract(cookie, hold).then(|| {
        EventKind::Failed(Failed {
            owner: announced.owner,
            pool: announced.pool,
            code: FailureCode::EAGAIN,
            local: Some(announced.local).filter(|local| !local.is_unspecified()),
            remote: announced.remote,
            retracts: Some(announced.hold),
        })
    })
}

/// The local ports of a namespace's sockets, by cookie.
pub(crate) fn ports(namespace: &Namespace, protocol: Protocol) -> Option<FxHashMap<u64, u16>> {
    let dump = netns::within(namespace, || sock_diag::dump(&[protocol])).ok()?.ok()?;
    Some(dump.rows.into_iter().map(|row| (row.cookie, row.local_port)).collect())
}
