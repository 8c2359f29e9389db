//! What portleak believes, kept as simply as can be: acquired, and not released.

use crate::kernel::Kernel;
use portleak::event::{Acquired, Event, EventKind, HoldId, LossStage, OwnerId};
use portleak::source::linux::kernel::sock_diag::SocketRow;
use portleak::source::{LiveSource, Source};
use std::collections::{HashMap, HashSet};

/// Everybody's holds.
#[derive(Default)]
pub(crate) struct Model {
    /// With the time of acquisition.
    holds: HashMap<HoldId, (u64, Acquired)>,
    time_waits: HashSet<HoldId>,
    /// Sockets that ever held a port.
    known: HashSet<HoldId>,
    events: Vec<Event>,
    /// How often a loss was told.
    pub(crate) losses: u64,
    /// What cannot be: a sentence each.
    faults: Vec<String>,
    /// While the source lists all after a loss: since when, and what it has listed.
    resync: Option<(u64, HashSet<HoldId>)>,
}

impl Model {
    /// Takes what has happened.
    pub(crate) fn take(&mut self, source: &mut LiveSource) {
        let mut events = std::mem::take(&mut self.events);
        source.drain(&mut events).expect("events");
        for event in events.drain(..) {
            self.apply(event);
        }
        self.events = events;
    }

    fn apply(&mut self, event: Event) {
        match event.kind {
            EventKind::Acquired(acquired) => {
                self.known.insert(acquired.hold);
                let before = self.holds.insert(acquired.hold, (event.at_ns, acquired));
                self.faults.extend(before.map(|before| format!("acquired twice: {before:?}")));
            }
            EventKind::PortLearnt { hold, port } => {
                if let Some((_, held)) = self.holds.get_mut(&hold) {
                    held.port = Some(port);
                }
            }
            EventKind::Released { hold } => {
                let unknown = self.holds.remove(&hold).is_none();
                self.faults.extend(unknown.then(|| format!("released without being held: {hold:?}")));
            }
            EventKind::Failed(failed) => {
                failed.retracts.and_then(|hold| self.holds.remove(&hold));
            }
            EventKind::TimeWaitBegan { hold } => {
                self.time_waits.insert(hold);
            }
            EventKind::TimeWaitEnded { hold } => {
                self.time_waits.remove(&hold);
            }
            EventKind::Lost { count, stage } => self.lose(count, stage),
            EventKind::ResyncBegan => self.resync = Some((event.at_ns, HashSet::new())),
            EventKind::Confirmed(acquired) => self.confirm(event.at_ns, acquired),
            EventKind::ResyncEnded => self.end_resync(),
            _ => {}
        }
    }

    /// The kernel skips a probe that interrupts itself, and the source says so. What looked wrong
    /// before it said so may come of that; after the list that follows nothing may.
    #[expect(clippy::print_stdout, reason = "a loss is told, not hidden")]
    fn lose(&mut self, count: u64, stage: LossStage) {
        println!("{count} lost in {stage:?}");
        self.losses += 1;
        self.faults.clear();
    }

    fn confirm(&mut self, at_ns: u64, acquired: Acquired) {
        if let Some((_, confirmed)) = &mut self.resync {
            confirmed.insert(acquired.hold);
        }
        self.known.insert(acquired.hold);
        let since_ns = self.holds.get(&acquired.hold).map_or(at_ns, |(before_ns, _)| *before_ns);
        self.holds.insert(acquired.hold, (since_ns, acquired));
    }

    fn end_resync(&mut self) {
        if let Some((began_ns, confirmed)) = self.resync.take() {
            self.holds.retain(|hold, (at_ns, _)| confirmed.contains(hold) || *at_ns >= began_ns);
            self.faults.clear();
        }
    }

    /// What is not alike, a sentence each.
    pub(crate) fn compare(&self, kernel: &Kernel) -> Vec<String> {
        let mut differences = self.faults.clone();
        for (cookie, row) in &kernel.rows {
            match self.holds.get(&HoldId(*cookie)) {
                Some((_, hold)) => differences.extend(differ(hold, row, kernel)),
                None if kernel.is_queued(row) => {}
                None => differences.push(format!("not told: {row:?}")),
            }
        }
        // A namespace before this one may have had its number.
        let here = |at_ns: u64, hold: &Acquired| at_ns >= kernel.began_ns && hold.pool.netns == kernel.netns;
        let holds = self.holds.values().filter(|(at_ns, hold)| here(*at_ns, hold));
        let gone = holds.filter(|(_, hold)| kernel.shows(hold) && !kernel.rows.contains_key(&hold.hold.0));
        differences.extend(gone.map(|(_, hold)| format!("not held: {hold:?}")));
        let missed = kernel.time_waits.iter().map(|cookie| HoldId(*cookie));
        let missed = missed.filter(|hold| self.known.contains(hold) && !self.time_waits.contains(hold));
        differences.extend(missed.map(|hold| format!("TIME_WAIT not told: {hold:?}")));
        differences
    }
}

fn differ(hold: &Acquired, row: &SocketRow, kernel: &Kernel) -> Option<String> {
    let pid = match &hold.owner {
        OwnerId::Process(id) => Some(id.pid),
        OwnerId::System { .. } | OwnerId::Program(_) | OwnerId::Others(_) | OwnerId::Unowned => None,
    };
    // An orphan has no descriptor any more; its owner stays who it was.
    let owner = kernel.owners.get(&row.inode).copied().or(pid.filter(|_| row.inode == 0));
    let port = hold.port.unwrap_or(row.local_port);
    let alike = pid == owner && port == row.local_port && hold.pool.protocol == row.protocol;
    (!alike).then(|| format!("told {hold:?}\n  and is {row:?} of {owner:?}"))
}
