//! Processes: who a pid is at an instant, and what is known of it.
//!
//! Surprising: an event's header tells the process on whose thread it was written, which is often
//! not the one that it is about. AFD's events carry the kernel's process object, and that is always
//! right.

use super::drivers::base_name;
use super::sweep::Sweep;
use crate::event::{Event, EventKind, OwnerId, ProcessFacts, ProcessId};
use crate::source::windows::decoded_event::{Process, ProcessLife, Service};
use crate::source::windows::etl::Header;
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The kernel's own process.
pub(super) const SYSTEM: u32 = 4;
/// More processes at once than a trace has that was not made to do harm.
const PROCESSES_MAX: usize = 1 << 18;
/// The lower bits of a start key number the processes since boot; the upper ones number the boots,
/// and some events leave those out.
const SEQUENCE: u64 = (1 << 48) - 1;

/// One process that has, or had, a pid.
#[derive(Clone, Debug)]
struct KnownProcess {
    id: ProcessId,
    start_key: Option<u64>,
    facts: ProcessFacts,
    /// Whether it has been told of, so that changes must be, too.
    told: bool,
    ended: bool,
    /// When it was first seen.
    seen_ns: u64,
}

/// The processes.
#[derive(Clone, Debug, Default)]
pub(super) struct Processes {
    by_pid: FxHashMap<u32, KnownProcess>,
    by_object: FxHashMap<u64, u32>,
    processes_sweep: Sweep,
    objects_sweep: Sweep,
}

impl Processes {
    /// A process started, is there, or ended.
    pub(super) fn observe(
        &mut self,
        at_ns: u64,
        header: &Header,
        process: &Process,
        events: &mut Vec<Event>,
    ) {
        let ticks = process.created.map(|created| header.ticks_since_boot(created));
        if process.life == ProcessLife::Ended {
            self.end(at_ns, process.pid, events);
            return;
        }
        let started = process.life == ProcessLife::Started;
        let is_known = self.by_pid.get(&process.pid).is_some_and(|known| {
            let same_time = ticks.is_none_or(|ticks| [0, ticks].contains(&known.id.started_ticks));
            // A start may be told after what the process has done since.
            let is_late = at_ns <= known.seen_ns;
            !known.ended && (!started || is_late) && same_time && fits(known.start_key, process.start_key)
        });
        if !is_known {
            let from_trace = started.then_some(at_ns / 100);
            self.enter(at_ns, process.pid, ticks.or(from_trace).unwrap_or(0), process.start_key);
        }
        let Some(known) = self.by_pid.get_mut(&process.pid) else {
            return;
        };
        describe(&mut known.facts, process);
        let child = known.id;
        if known.told {
            events.push(told(at_ns, known));
        }
        if started && let Some(parent) = process.parent.filter(|&parent| parent != 0) {
            let kind = EventKind::Forked { parent: self.alive(parent), child };
            events.push(Event { at_ns, kind });
        }
    }

    /// The process that has this pid now.
    fn alive(&self, pid: u32) -> ProcessId {
        let known = self.by_pid.get(&pid).filter(|known| !known.ended);
        known.map_or(ProcessId { pid, started_ticks: 0 }, |known| known.id)
    }

    /// A service runs in a process, perhaps with others.
    pub(super) fn add_service(&mut self, at_ns: u64, service: &Service, events: &mut Vec<Event>) {
        if service.pid == 0 {
            return;
        }
        let known = self.by_pid.get(&service.pid);
        let before = known.and_then(|known| known.facts.service.as_deref()).unwrap_or_default();
        if before.split(", ").any(|known| known == service.name) {
            return;
        }
        let all =
            if before.is_empty() { service.name.clone() } else { format!("{before}, {}", service.name) };
        self.set_services(at_ns, service.pid, Some(&all), events);
    }

    /// These are all services that run now.
    pub(super) fn set_all_services(&mut self, at_ns: u64, services: &[Service], events: &mut Vec<Event>) {
        let mut names: BTreeMap<u32, Vec<&str>> = BTreeMap::new();
        for service in services.iter().filter(|service| service.pid != 0) {
            names.entry(service.pid).or_default().push(&service.name);
        }
        let idle = |(&pid, known): (&u32, &KnownProcess)| {
            (known.facts.service.is_some() && !known.ended && !names.contains_key(&pid)).then_some(pid)
        };
        let mut idle: Vec<_> = self.by_pid.iter().filter_map(idle).collect();
        idle.sort_unstable();
        for pid in idle {
            self.set_services(at_ns, pid, None, events);
        }
        for (pid, names) in names {
            self.set_services(at_ns, pid, Some(&names.join(", ")), events);
        }
    }

    fn set_services(&mut self, at_ns: u64, pid: u32, names: Option<&str>, events: &mut Vec<Event>) {
        if self.by_pid.get(&pid).is_none_or(|known| known.ended) {
            self.enter(at_ns, pid, 0, None);
        }
        let Some(known) = self.by_pid.get_mut(&pid).filter(|known| known.facts.service.as_deref() != names)
        else {
            return;
        };
        known.facts.service = names.map(Into::into);
        if known.told {
            events.push(told(at_ns, known));
        }
    }

    /// A kernel's process object is of this process now.
    pub(super) fn set_object(&mut self, object: u64, pid: u32) {
        if pid == 0 {
            return;
        }
        if self.objects_sweep.is_due(self.by_object.len()) {
            let processes = &self.by_pid;
            let is_full = self.by_object.len() >= PROCESSES_MAX;
            let is_alive = |pid: &u32| processes.get(pid).is_some_and(|known| !known.ended);
            self.by_object.retain(|_, pid| !is_full && is_alive(pid));
            self.objects_sweep.done(self.by_object.len());
        }
        self.by_object.insert(object, pid);
    }

    /// The pid that a kernel's process object has.
    pub(super) fn pid_of(&self, object: u64) -> Option<u32> {
        self.by_object.get(&object).copied()
    }

    /// The owner that a pid is now; told of if that was not done yet. A pid of 0 is nobody.
    pub(super) fn owner(
        &mut self,
        at_ns: u64,
        pid: u32,
        start_key: Option<u64>,
        module: Option<Arc<str>>,
        events: &mut Vec<Event>,
    ) -> OwnerId {
        match pid {
            0 => return OwnerId::Unowned,
            SYSTEM => return OwnerId::System { module, netns: crate::event::NetNs(0) },
            _ => {}
        }
        match self.by_pid.get(&pid) {
            None => self.enter(at_ns, pid, 0, start_key),
            // Its pid has been given to another whose start was not seen.
            Some(known) if known.ended || !fits(known.start_key, start_key) => {
                self.enter(at_ns, pid, at_ns / 100, start_key);
            }
            Some(_) => {}
        }
        let Some(known) = self.by_pid.get_mut(&pid) else {
            return OwnerId::Unowned;
        };
        known.start_key = known.start_key.or(start_key);
        if !known.told {
            known.told = true;
            events.push(told(at_ns, known));
        }
        OwnerId::Process(known.id)
    }

    fn enter(&mut self, at_ns: u64, pid: u32, started_ticks: u64, start_key: Option<u64>) {
        if self.processes_sweep.is_due(self.by_pid.len()) {
            self.by_pid.retain(|_, known| !known.ended);
            self.processes_sweep.done(self.by_pid.len());
        }
        if self.by_pid.len() < PROCESSES_MAX {
            let id = ProcessId { pid, started_ticks };
            let facts = ProcessFacts::default();
            self.by_pid.insert(
                pid,
                KnownProcess { id, start_key, facts, told: false, ended: false, seen_ns: at_ns },
            );
        }
    }

    fn end(&mut self, at_ns: u64, pid: u32, events: &mut Vec<Event>) {
        // Told late, it may be of one that had the pid before.
        let is_it = |known: &&mut KnownProcess| !known.ended && known.seen_ns <= at_ns;
        let Some(known) = self.by_pid.get_mut(&pid).filter(is_it) else {
            return;
        };
        known.ended = true;
        if known.told {
            events.push(Event { at_ns, kind: EventKind::Exited { id: known.id } });
        }
    }
}

/// Whether two keys can be of one process.
fn fits(a: Option<u64>, b: Option<u64>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a & SEQUENCE == b & SEQUENCE,
        _ => true,
    }
}

fn told(at_ns: u64, known: &KnownProcess) -> Event {
    Event { at_ns, kind: EventKind::Process { id: known.id, facts: known.facts.clone() } }
}

fn describe(facts: &mut ProcessFacts, process: &Process) {
    if let Some(image) = &process.image {
        facts.comm = base_name(image).into();
        facts.exe = image.contains('\\').then(|| image.as_str().into()).or(facts.exe.take());
    }
    facts.cmdline = process.command.as_deref().map(Into::into).or(facts.cmdline.take());
    facts.ppid = process.parent.or(facts.ppid);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_that_ended_are_forgotten_in_the_end() {
        let (mut processes, mut events) = (Processes::default(), Vec::new());
        for n in 1..200_000_u32 {
            processes.set_object(u64::from(n), n * 4);
            processes.enter(n.into(), n * 4, n.into(), None);
            processes.end(n.into(), n * 4, &mut events);
        }
        assert!(processes.by_pid.len() <= 1 << 16 && processes.by_object.len() <= 1 << 16);
        assert_eq!(events, [], "nobody had heard of them");
    }

    #[test]
    fn an_end_that_is_told_late_is_of_another() {
        let (mut processes, mut events) = (Processes::default(), Vec::new());
        let owner = processes.owner(2_000, 8, None, None, &mut events);
        processes.end(1_000, 8, &mut events);
        assert_eq!(
            processes.owner(3_000, 8, None, None, &mut events),
            owner,
            "what ended had the pid before"
        );
        processes.end(4_000, 8, &mut events);
        assert_ne!(processes.owner(5_000, 8, None, None, &mut events), owner);
    }
}
