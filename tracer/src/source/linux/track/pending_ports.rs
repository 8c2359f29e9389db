//! Holds whose port is not known yet.
//!
//! A `connect()` or `listen()` is seen before the kernel chooses the port. TCP shows the number at
//! the socket's next change of state, which for a connection is a round trip later and for a
//! listener may be never. UDP shows nothing more until the socket is closed, not even that there
//! was no port to be had (`EAGAIN`). So after a while a worker lists the namespace's sockets.

use super::{Context, Tracker};
use crate::event::{EventKind, Failed, FailureCode, HoldId, Incomplete, NetNs, Protocol};
use crate::source::linux::bpf::ledger::Ledger;
use crate::source::linux::bpf::wire::{self, Record};
use crate::source::linux::system::PortList;
use crate::source::worker::{Limits, Outcome, Worker};
use portleak_ebpf::{Header, Hold, HoldRecord, flag, kind, protocol};
use rustc_hash::FxHashMap;
use std::sync::Arc;

const MILLISECOND_NS: u64 = 1_000_000;
const LIMITS: Limits = Limits { queue_max: 256, deadline_ns: 5_000 * MILLISECOND_NS };

/// When to list a protocol's sockets.
struct Schedule {
    protocol: Protocol,
    /// How old a hold must be before it is looked for.
    settled_ns: u64,
    /// How often at most sockets are listed.
    every_ns: u64,
}

/// UDP soon, for a failure hides there; TCP for the number only, and there may be many sockets.
const SCHEDULES: [Schedule; 2] = [
    Schedule { protocol: Protocol::Udp, settled_ns: 50 * MILLISECOND_NS, every_ns: 200 * MILLISECOND_NS },
    Schedule {
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

/// The holds of one namespace whose ports are being looked up.
#[derive(Debug)]
struct Batch {
    which: usize,
    holds: Vec<(u64, Pending)>,
}

/// All that were announced and whose port is not known.
#[derive(Debug)]
pub struct PendingPorts {
    pending: [FxHashMap<u64, Pending>; SCHEDULES.len()],
    listed_ns: [u64; SCHEDULES.len()],
    worker: Worker<Batch, PortList>,
    missed: u64,
}

impl Default for PendingPorts {
    fn default() -> Self {
        let worker = Worker::new("pending ports", LIMITS);
        Self { pending: Default::default(), listed_ns: Default::default(), worker, missed: 0 }
    }
}

impl Tracker for PendingPorts {
    fn on_record(&mut self, record: &Record, event: &mut Option<EventKind>, _: &mut Context<'_>) {
        match (record, event) {
            (Record::Hold(record), Some(EventKind::Acquired(acquired))) if acquired.port.is_none() => {
                self.announce(record);
            }
            (Record::Hold(record), Some(EventKind::Failed(_))) => self.resolve(record.header.cookie),
            (Record::Short(header), _) if shows_port_or_end(header) => self.resolve(header.cookie),
            _ => {}
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) {
        while let Some(outcome) = self.worker.poll(cx.now_ns) {
            self.conclude(outcome, cx);
        }
        self.look_up(cx);
    }

    fn finish(&mut self, cx: &mut Context<'_>) {
        self.look_up(cx);
        for outcome in self.worker.finish(cx.patience()) {
            self.conclude(outcome, cx);
        }
    }

    fn incomplete(&self) -> Option<Incomplete> {
        (self.missed > 0).then(|| Incomplete {
            what: "lists of sockets for pending ports that were late".to_owned(),
            count: self.missed,
            remedy: "repeat the trace; `portleak doctor` shows what is slow here".to_owned(),
        })
    }
}

/// Whether the probes know more of a hold by now.
fn shows_port_or_end(header: &Header) -> bool {
    header.port != 0 || header.kind == kind::RELEASED
}

impl PendingPorts {
    fn announce(&mut self, record: &HoldRecord) {
        let (hold, at_ns) = (&record.hold, record.header.at_ns);
        let pending = Pending { at_ns, netns: NetNs(hold.netns), pid: hold.owner.pid };
        let [udp, tcp] = &mut self.pending;
        let group = if hold.protocol == protocol::UDP { udp } else { tcp };
        group.insert(record.header.cookie, pending);
    }

    fn resolve(&mut self, cookie: u64) {
        for group in self.pending.iter_mut().filter(|group| !group.is_empty()) {
            group.remove(&cookie);
        }
    }

    /// Has the ports looked up, where it is time.
    fn look_up(&mut self, cx: &mut Context<'_>) {
        for (which, schedule) in SCHEDULES.iter().enumerate() {
            if self.pending[which].is_empty() || cx.now_ns < self.listed_ns[which] + schedule.every_ns {
                continue;
            }
            self.listed_ns[which] = cx.now_ns;
            for (netns, holds) in self.settled(which, cx.now_ns.saturating_sub(schedule.settled_ns)) {
                let pids: Vec<u32> = holds.iter().map(|(_, pending)| pending.pid).collect();
                let (queries, protocol) = (Arc::clone(cx.queries), schedule.protocol);
                let job = move || queries.ports(netns, &pids, protocol);
                self.missed += u64::from(self.worker.submit(Batch { which, holds }, job).is_err());
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

    /// What a list says of the holds that it was made for. Where there is none, they stay as they
    /// are: held, port unknown.
    fn conclude(&mut self, outcome: Outcome<Batch, PortList>, cx: &mut Context<'_>) {
        let (batch, ports) = match outcome {
            Outcome::Done(batch, PortList::Listed(ports)) => (batch, ports),
            Outcome::Done(_, PortList::Gone | PortList::Unreadable) => return,
            Outcome::Missed(_) => {
                self.missed += 1;
                return;
            }
        };
        for (cookie, announced) in batch.holds {
            let group = &mut self.pending[batch.which];
            if group.get(&cookie).is_some_and(|pending| pending.at_ns == announced.at_ns) {
                group.remove(&cookie);
            }
            let kind = still_open(cookie, &announced, cx.ledger)
                .and_then(|hold| resolved(cookie, &hold, ports.get(&cookie).copied(), cx.ledger));
            if let Some(kind) = kind {
                cx.emit(kind);
            }
        }
    }
}

/// The hold as it was announced, if nothing more is known of it yet. The socket may have another
/// by now, of which its listing says nothing: a disconnect and a connect take no time.
fn still_open(cookie: u64, pending: &Pending, ledger: &Ledger) -> Option<Hold> {
    let announced = |hold: &Hold| hold.acquired_ns == pending.at_ns && hold.flags & flag::UNCONFIRMED != 0;
    ledger.hold(cookie).filter(announced)
}

/// What the list says of a hold.
fn resolved(cookie: u64, hold: &Hold, port: Option<u16>, ledger: &mut Ledger) -> Option<EventKind> {
    match port {
        Some(port) => {
            ledger.learn(cookie, port);
            Some(EventKind::PortLearnt { hold: HoldId(cookie), port })
        }
        // What became of a TCP socket that is not listed, its tracepoints show.
        None if hold.protocol == protocol::TCP => None,
        None => retract(cookie, hold, ledger),
    }
}

/// A UDP socket is not listed: it has no port, unless it was closed meanwhile, which the probes show.
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
