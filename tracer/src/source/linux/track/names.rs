//! What owners are called.
//!
//! Name, executable, cgroup and the like are the kernel's own memory and read at once. A command
//! line lies in the process's memory: reading `/proc/PID/cmdline` takes its memory lock
//! (`access_remote_vm`, mm/memory.c) and may fault on pages that a hostile program serves, so it can
//! hang for ever. A worker reads it, and the name is emitted again when it is there.

use crate::event::{Event, EventKind, Incomplete, ProcessFacts, ProcessId};
use crate::source::linux::bpf::wire::{self, Record};
use crate::source::linux::system::{Queries, System};
use crate::source::worker::{Limits, Outcome, Worker};
use portleak_ebpf::{OwnerKey, OwnerTotals};
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::Arc;
use std::time::Duration;

const LIMITS: Limits = Limits { queue_max: 32_768, deadline_ns: 250_000_000 };

/// Owners that were named.
#[derive(Debug)]
pub struct Names {
    named: FxHashSet<OwnerKey>,
    /// Named without their command line, which is being read.
    awaited: FxHashMap<ProcessId, ProcessFacts>,
    command_lines: Worker<ProcessId, Option<Arc<str>>>,
    missed: u64,
}

impl Default for Names {
    fn default() -> Self {
        Self {
            named: FxHashSet::default(),
            awaited: FxHashMap::default(),
            command_lines: Worker::new("names", LIMITS),
            missed: 0,
        }
    }
}

impl Names {
    /// Completes the name that a record carries.
    pub fn on_record(&mut self, record: &Record, event: &mut Option<EventKind>, system: &dyn System) {
        let (Record::Process(record), Some(EventKind::Process { id, facts })) = (record, event) else {
            return;
        };
        self.named.insert(record.owner);
        self.awaited.remove(id); // It has a newer name.
        *facts = system.complete(*id, std::mem::take(facts));
    }

    /// Names a process, if nobody has yet. False if it is not there any more.
    pub fn introduce(
        &mut self,
        owner: &OwnerKey,
        now_ns: u64,
        system: &dyn System,
        queries: &Arc<dyn Queries>,
        events: &mut Vec<Event>,
    ) -> bool {
        let wanted = wire::process(owner);
        if owner.pid == 0 {
            return false;
        }
        if self.named.contains(owner) {
            return system.process(owner.pid) == Some(wanted);
        }
        let Some((id, facts)) = system.facts(owner.pid).filter(|(id, _)| *id == wanted) else {
            return false;
        };
        self.named.insert(*owner);
        events.push(Event { at_ns: now_ns, kind: EventKind::Process { id, facts: facts.clone() } });
        let queries = Arc::clone(queries);
        match self.command_lines.submit(id, move || queries.command_line(id)) {
            Ok(()) => _ = self.awaited.insert(id, facts),
            Err(_) => self.missed += 1,
        }
        true
    }

    /// Names a process that is gone, if nobody has: by what the ledger knows of it.
    pub fn recall(&mut self, owner: &OwnerKey, totals: &OwnerTotals) -> Option<EventKind> {
        let facts = wire::kept_facts(totals)?;
        self.named.insert(*owner).then(|| EventKind::Process { id: wire::process(owner), facts })
    }

    /// Whether an owner was named.
    #[must_use]
    pub fn has(&self, owner: &OwnerKey) -> bool {
        self.named.contains(owner)
    }

    /// An owner's place in the ledger was freed.
    pub fn forget(&mut self, owner: &OwnerKey) {
        self.named.remove(owner);
    }

    /// Emits the command lines that have been read.
    pub fn poll(&mut self, now_ns: u64, events: &mut Vec<Event>) {
        while let Some(outcome) = self.command_lines.poll(now_ns) {
            self.emit(outcome, now_ns, events);
        }
    }

    /// The same at the end, after waiting for them.
    pub fn finish(&mut self, patience: Duration, now_ns: u64, events: &mut Vec<Event>) {
        for outcome in self.command_lines.finish(patience) {
            self.emit(outcome, now_ns, events);
        }
    }

    fn emit(&mut self, outcome: Outcome<ProcessId, Option<Arc<str>>>, at_ns: u64, events: &mut Vec<Event>) {
        match outcome {
            Outcome::Done(id, line) => {
                if let (Some(facts), Some(line)) = (self.awaited.remove(&id), line) {
                    let facts = ProcessFacts { cmdline: Some(line), ..facts };
                    events.push(Event { at_ns, kind: EventKind::Process { id, facts } });
                }
            }
            Outcome::Missed(id) => {
                self.awaited.remove(&id);
                self.missed += 1;
            }
        }
    }

    /// Processes whose command line could not be read in time.
    #[must_use]
    pub fn incomplete(&self) -> Option<Incomplete> {
        (self.missed > 0).then(|| Incomplete {
            what: "command lines of processes that could not be read in time".to_owned(),
            count: self.missed,
            remedy: "look for processes whose memory is locked: reading /proc/PID/cmdline hangs".to_owned(),
        })
    }
}
