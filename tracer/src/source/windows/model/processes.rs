//! Processes: which process has a pid at an instant, and what is known of it.
//!
//! Surprising: the header of an event names the process whose thread wrote it, which is often not the
//! process that the event is about. AFD's events carry the kernel's process object, which is always the
//! right one.

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
/// A bound against hostile traces: no real machine has as many processes at once.
const PROCESSES_MAX: usize = 1 << 18;
/// The lower bits of a start key number the processes since boot. The upper bits number the boots; some
/// events leave them out.
const SEQUENCE: u64 = (1 << 48) - 1;

/// One process that has, or had, a pid.
#[derive(Clone, Debug)]
struct KnownProcess {
    id: ProcessId,
    start_key: Option<u64>,
    facts: ProcessFacts,
    /// It has been announced by an event, so its changes must be announced too.
    is_announced: bool,
    ended_ns: Option<u64>,
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
    /// A sweep has removed ended processes, so a pid that is not known may be a reused one.
    has_swept: bool,
}

impl Processes {
    /// A process started, exists, or ended.
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
            // The start may be delivered after later records of the process.
            let is_late = at_ns <= known.seen_ns;
            known.ended_ns.is_none()
                && (!started || is_late)
                && same_time
                && fits(known.start_key, process.start_key)
        });
        if !is_known {
            let from_trace = started.then_some(at_ns / 100);
            let ticks = ticks.or(from_trace).unwrap_or_else(|| self.unknown_start(process.pid, at_ns));
            self.enter(at_ns, process.pid, ticks, process.start_key);
        }
        let Some(known) = self.by_pid.get_mut(&process.pid) else {
            return;
        };
        describe(&mut known.facts, process);
        let child = known.id;
        if known.is_announced {
            events.push(announcement(at_ns, known));
        }
        if started && let Some(parent) = process.parent.filter(|&parent| parent != 0) {
            let parent = self.parent(at_ns, parent, process.parent_start_key, child);
            events.push(Event { at_ns, kind: EventKind::Forked { parent, child } });
        }
    }

    /// The process that had this pid when it started `child` at `at_ns`.
    ///
    /// A pid alone does not prove it, for pids are reused: the parent was alive then, started before its
    /// child, and has the start key that the child's record names (from Windows 10 2004 on).
    fn parent(&self, at_ns: u64, pid: u32, start_key: Option<u64>, child: ProcessId) -> ProcessId {
        let is_parent = |known: &&KnownProcess| {
            known.ended_ns.is_none_or(|ended_ns| at_ns <= ended_ns)
                && known.id.started_ticks <= child.started_ticks
                && fits(known.start_key, start_key)
        };
        let unknown = || ProcessId { pid, started_ticks: self.unknown_start(pid, at_ns) };
        self.by_pid.get(&pid).filter(is_parent).map_or_else(unknown, |known| known.id)
    }

    /// The start of a process that has this pid and whose start was not seen: 0, before the trace. Where
    /// another process had the pid, that could be its identity, so the instant stands for the start.
    fn unknown_start(&self, pid: u32, at_ns: u64) -> u64 {
        if self.has_swept || self.by_pid.contains_key(&pid) { at_ns / 100 } else { 0 }
    }

    /// A service runs in a process, perhaps beside other services.
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

    /// Replaces the services of all processes by those that run now.
    pub(super) fn set_all_services(&mut self, at_ns: u64, services: &[Service], events: &mut Vec<Event>) {
        let mut names: BTreeMap<u32, Vec<&str>> = BTreeMap::new();
        for service in services.iter().filter(|service| service.pid != 0) {
            names.entry(service.pid).or_default().push(&service.name);
        }
        let idle = |(&pid, known): (&u32, &KnownProcess)| {
            (known.facts.service.is_some() && known.ended_ns.is_none() && !names.contains_key(&pid))
                .then_some(pid)
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
        if self.by_pid.get(&pid).is_none_or(|known| known.ended_ns.is_some()) {
            self.enter(at_ns, pid, self.unknown_start(pid, at_ns), None);
        }
        let Some(known) = self.by_pid.get_mut(&pid).filter(|known| known.facts.service.as_deref() != names)
        else {
            return;
        };
        known.facts.service = names.map(Into::into);
        if known.is_announced {
            events.push(announcement(at_ns, known));
        }
    }

    /// A process object of the kernel belongs to this process now.
    pub(super) fn set_object(&mut self, object: u64, pid: u32) {
        if pid == 0 {
            return;
        }
        if self.objects_sweep.is_due(self.by_object.len()) {
            let processes = &self.by_pid;
            let is_full = self.by_object.len() >= PROCESSES_MAX;
            let is_alive = |pid: &u32| processes.get(pid).is_some_and(|known| known.ended_ns.is_none());
            self.by_object.retain(|_, pid| !is_full && is_alive(pid));
            self.objects_sweep.done(self.by_object.len());
        }
        self.by_object.insert(object, pid);
    }

    /// The pid of a process object of the kernel.
    pub(super) fn pid_of(&self, object: u64) -> Option<u32> {
        self.by_object.get(&object).copied()
    }

    /// The owner with this pid now, announced by an event if it was not yet. A pid of 0 is unowned.
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
            None => self.enter(at_ns, pid, self.unknown_start(pid, at_ns), start_key),
            // The pid was reused by a process whose start was not seen.
            Some(known) if known.ended_ns.is_some() || !fits(known.start_key, start_key) => {
                self.enter(at_ns, pid, at_ns / 100, start_key);
            }
            Some(_) => {}
        }
        let Some(known) = self.by_pid.get_mut(&pid) else {
            return OwnerId::Unowned;
        };
        known.start_key = known.start_key.or(start_key);
        if !known.is_announced {
            known.is_announced = true;
            events.push(announcement(at_ns, known));
        }
        OwnerId::Process(known.id)
    }

    fn enter(&mut self, at_ns: u64, pid: u32, started_ticks: u64, start_key: Option<u64>) {
        if self.processes_sweep.is_due(self.by_pid.len()) {
            self.by_pid.retain(|_, known| known.ended_ns.is_none());
            self.has_swept = true;
            self.processes_sweep.done(self.by_pid.len());
        }
        if self.by_pid.len() < PROCESSES_MAX {
            let id = ProcessId { pid, started_ticks };
            let facts = ProcessFacts::default();
            self.by_pid.insert(
                pid,
                KnownProcess { id, start_key, facts, is_announced: false, ended_ns: None, seen_ns: at_ns },
            );
        }
    }

    fn end(&mut self, at_ns: u64, pid: u32, events: &mut Vec<Event>) {
        // An end that arrives late may be that of the process that had the pid before.
        let is_it = |known: &&mut KnownProcess| known.ended_ns.is_none() && known.seen_ns <= at_ns;
        let Some(known) = self.by_pid.get_mut(&pid).filter(is_it) else {
            return;
        };
        known.ended_ns = Some(at_ns);
        if known.is_announced {
            events.push(Event { at_ns, kind: EventKind::Exited { id: known.id } });
        }
    }
}

/// Whether two start keys can belong to the same process.
fn fits(a: Option<u64>, b: Option<u64>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a & SEQUENCE == b & SEQUENCE,
        _ => true,
    }
}

fn announcement(at_ns: u64, known: &KnownProcess) -> Event {
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
    fn ended_processes_are_swept() {
        let (mut processes, mut events) = (Processes::default(), Vec::new());
        for n in 1..200_000_u32 {
            processes.set_object(u64::from(n), n * 4);
            processes.enter(n.into(), n * 4, n.into(), None);
            processes.end(n.into(), n * 4, &mut events);
        }
        assert!(processes.by_pid.len() <= 1 << 16 && processes.by_object.len() <= 1 << 16);
        assert_eq!(events, [], "they were never announced");
    }

    #[test]
    fn a_late_end_belongs_to_the_earlier_process() {
        let (mut processes, mut events) = (Processes::default(), Vec::new());
        let owner = processes.owner(2_000, 8, None, None, &mut events);
        processes.end(1_000, 8, &mut events);
        assert_eq!(
            processes.owner(3_000, 8, None, None, &mut events),
            owner,
            "another process with that pid ended"
        );
        processes.end(4_000, 8, &mut events);
        assert_ne!(processes.owner(5_000, 8, None, None, &mut events), owner);
    }

    const BOOT: u64 = 134_000_000_000_000_000;

    /// 1: a process starts at tick `created` as a child of `parent`.
    fn start(processes: &mut Processes, pid: u32, created: u64, parent: (u32, Option<u64>)) -> EventKind {
        let header = Header::of_session((10, 0, 26_100), 0, BOOT, BOOT + 1);
        let process = Process {
            life: ProcessLife::Started,
            pid,
            parent: Some(parent.0),
            parent_start_key: parent.1,
            created: Some(BOOT + created),
            start_key: None,
            image: None,
            command: None,
        };
        let mut events = Vec::new();
        processes.observe(created * 100, &header, &process, &mut events);
        events.pop().unwrap().kind
    }

    fn forked(parent: (u32, u64), child: (u32, u64)) -> EventKind {
        let process = |(pid, started_ticks)| ProcessId { pid, started_ticks };
        EventKind::Forked { parent: process(parent), child: process(child) }
    }

    #[test]
    fn a_reused_pid_is_no_parent() {
        let mut processes = Processes::default();
        processes.enter(0, 8, 10, Some(7));
        assert_eq!(start(&mut processes, 12, 20, (8, None)), forked((8, 10), (12, 20)));
        assert_eq!(start(&mut processes, 16, 30, (8, Some(7))), forked((8, 10), (16, 30)));
        assert_eq!(start(&mut processes, 20, 40, (8, Some(9))), forked((8, 40), (20, 40)), "another key");
        assert_eq!(
            start(&mut processes, 24, 5, (8, None)),
            forked((8, 5), (24, 5)),
            "younger than its child"
        );
        processes.end(5_000, 8, &mut Vec::new());
        assert_eq!(start(&mut processes, 28, 45, (8, None)), forked((8, 10), (28, 45)), "arrives late");
        assert_eq!(start(&mut processes, 32, 60, (8, None)), forked((8, 60), (32, 60)), "it has ended");
    }

    #[test]
    fn a_pid_that_a_sweep_has_removed_is_another_process() {
        let mut processes = Processes::default();
        let before = processes.owner(100, 8, None, None, &mut Vec::new());
        processes.end(200, 8, &mut Vec::new());
        for n in 1..100_000_u32 {
            processes.enter(300, 8 + n * 4, n.into(), None);
            processes.end(300, 8 + n * 4, &mut Vec::new());
        }
        assert!(!processes.by_pid.contains_key(&8));
        assert_ne!(processes.owner(40_000, 8, None, None, &mut Vec::new()), before);
    }
}
