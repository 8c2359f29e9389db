//! Binds that found no port.
//!
//! The probes note every `bind()` that leaves the choice to the kernel, and know that it failed when
//! its socket is bound again or closed. A socket that is merely kept shows nothing more: its note is
//! found here. And that a bind failed does not say why: an address that is not this machine's fails,
//! too (`EADDRNOTAVAIL`). An address to which another bind has succeeded is local; for others a
//! worker asks the kernel, from inside the namespace, and the failure is withheld until it answers.
//!
//! Not reported: a bind to a foreign address that only `IP_FREEBIND` or `IP_TRANSPARENT` let through
//! and that then found no port; and one whose namespace is gone before it can be asked.

use super::{Context, Tracker};
use crate::event::{
    Acquired, Event, EventKind, Failed, FailureCode, Incomplete, NetNs, OwnerId, SocketState,
};
use crate::source::linux::bpf::wire::Record;
use crate::source::worker::{Limits, Outcome, Worker};
use portleak_ebpf::{Header, HoldRecord, kind};
use rustc_hash::FxHashMap;
use std::net::IpAddr;
use std::sync::Arc;

/// How long a bind may take: it waits for its socket's lock, and its task for a CPU.
const ANSWER_MAX_NS: u64 = 1_000_000_000;
/// How often unanswered binds are looked for.
const EVERY_NS: u64 = 200_000_000;
/// How long is remembered whether an address is local.
const LOCAL_NS: u64 = 5_000_000_000;
/// Addresses that are remembered.
const LOCAL_MAX: usize = 4_096;
/// Failures that are withheld for one address.
const WITHHELD_MAX: usize = 4_096;
/// `EADDRINUSE`.
const EADDRINUSE: u8 = 98;
const LIMITS: Limits = Limits { queue_max: 256, deadline_ns: 1_000_000_000 };

/// An address as a namespace sees it.
type Address = (NetNs, IpAddr);

/// What is known of binds.
#[derive(Debug)]
pub struct FailedBinds {
    /// Function probes report port exhaustion; other binds without an answer failed for another
    /// reason.
    reported_by_probes: bool,
    looked_ns: u64,
    /// Whether an address is local, and until when to believe it.
    local: FxHashMap<Address, (bool, u64)>,
    /// Failures that wait for the answer about their address.
    withheld: FxHashMap<Address, Vec<(u64, Failed)>>,
    worker: Worker<Address, bool>,
    missed: u64,
}

impl Tracker for FailedBinds {
    fn on_record(&mut self, record: &Record, event: &mut Option<EventKind>, cx: &mut Context<'_>) {
        let Record::Hold(record) = record else {
            return;
        };
        match event {
            Some(EventKind::Acquired(acquired)) => self.succeeded(acquired, record.header.at_ns),
            Some(EventKind::Failed(failed)) if !self.is_exhaustion(failed, record.header.at_ns, cx) => {
                *event = None;
            }
            _ => {}
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) {
        while let Some(outcome) = self.worker.poll(cx.now_ns) {
            self.conclude(outcome, cx);
        }
        self.find_unanswered(cx);
    }

    fn finish(&mut self, cx: &mut Context<'_>) {
        self.find_unanswered(cx);
        for outcome in self.worker.finish(cx.patience()) {
            self.conclude(outcome, cx);
        }
    }

    fn incomplete(&self) -> Option<Incomplete> {
        (self.missed > 0).then(|| Incomplete {
            what: "failed binds whose reason was not determined in time".to_owned(),
            count: self.missed,
            remedy: "repeat the trace; `portleak doctor` shows what is slow here".to_owned(),
        })
    }
}

impl FailedBinds {
    /// With or without function probes.
    #[must_use]
    pub fn new(reported_by_probes: bool) -> Self {
        Self {
            reported_by_probes,
            looked_ns: 0,
            local: FxHashMap::default(),
            withheld: FxHashMap::default(),
            worker: Worker::new("failed binds", LIMITS),
            missed: 0,
        }
    }

    /// Finds binds that were not answered, and has them treated as if the probes had reported them.
    fn find_unanswered(&mut self, cx: &mut Context<'_>) {
        if cx.now_ns < self.looked_ns + EVERY_NS {
            return;
        }
        self.looked_ns = cx.now_ns;
        let unanswered = cx.ledger.take_unanswered(cx.now_ns.saturating_sub(ANSWER_MAX_NS));
        for (cookie, hold) in unanswered.into_iter().filter(|_| !self.reported_by_probes) {
            cx.ledger.enter_owner(&hold.owner, hold.netns); // As the probes do, so that its end is reported.
            cx.introduce(&hold.owner);
            let at_ns = cx.now_ns;
            let header = Header { at_ns, cookie, kind: kind::FAILED, code: EADDRINUSE, ..Header::default() };
            cx.requests.records.push(HoldRecord { header, hold });
        }
    }

    /// A bind has succeeded.
    fn succeeded(&mut self, acquired: &Acquired, at_ns: u64) {
        let is_bound = acquired.state == SocketState::Bound && !acquired.local.is_unspecified();
        if !self.reported_by_probes && is_bound {
            self.remember((acquired.pool.netns, acquired.local), true, at_ns);
        }
    }

    /// Whether a failure was for want of a port, as far as is known now: not if its address cannot
    /// be bound to at all. One that has to wait for the answer is kept.
    fn is_exhaustion(&mut self, failed: &Failed, at_ns: u64, cx: &mut Context<'_>) -> bool {
        let (FailureCode::EADDRINUSE, Some(address), false) =
            (failed.code, failed.local, self.reported_by_probes)
        else {
            return true;
        };
        let key = (failed.pool.netns, address);
        if let Some(&(local, until_ns)) = self.local.get(&key)
            && at_ns <= until_ns
        {
            return local;
        }
        self.withhold(key, failed, at_ns, cx);
        false
    }

    fn withhold(&mut self, key: Address, failed: &Failed, at_ns: u64, cx: &mut Context<'_>) {
        if let Some(waiting) = self.withheld.get_mut(&key) {
            if waiting.len() < WITHHELD_MAX {
                waiting.push((at_ns, failed.clone()));
            } else {
                self.missed += 1;
            }
            return;
        }
        let (netns, address) = key;
        let (pid, protocol, queries) = (pid(&failed.owner), failed.pool.protocol, Arc::clone(cx.queries));
        match self.worker.submit(key, move || queries.is_local(netns, pid, protocol, address)) {
            Ok(()) => _ = self.withheld.insert(key, vec![(at_ns, failed.clone())]),
            Err(_) => self.missed += 1,
        }
    }

    fn conclude(&mut self, outcome: Outcome<Address, bool>, cx: &mut Context<'_>) {
        match outcome {
            Outcome::Done(key, local) => {
                self.remember(key, local, cx.now_ns);
                let withheld = self.withheld.remove(&key).unwrap_or_default().into_iter();
                let failures = withheld.filter(|_| local);
                cx.events
                    .extend(failures.map(|(at_ns, failed)| Event { at_ns, kind: EventKind::Failed(failed) }));
            }
            // Nothing is claimed then.
            Outcome::Missed(key) => {
                let withheld = self.withheld.remove(&key).unwrap_or_default();
                self.missed += u64::try_from(withheld.len()).unwrap_or(u64::MAX);
            }
        }
    }

    fn remember(&mut self, key: Address, local: bool, at_ns: u64) {
        if self.local.len() >= LOCAL_MAX {
            self.local.clear();
        }
        self.local.insert(key, (local, at_ns + LOCAL_NS));
    }
}

fn pid(owner: &OwnerId) -> Option<u32> {
    match owner {
        OwnerId::Process(id) => Some(id.pid),
        _ => None,
    }
}
