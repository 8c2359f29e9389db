//! What portleak believes, kept as simply as can be: acquired, and not released.

use crate::kernel::Kernel;
use std::collections::{HashMap, HashSet};
use tracer::event::{Acquired, Event, EventKind, HoldId, OwnerId};
use tracer::source::linux::sock_diag::SocketRow;
use tracer::source::{LiveSource, Source};

/// Everybody's holds.
#[derive(Default)]
pub(crate) struct Model {
    holds: HashMap<HoldId, Acquired>,
    time_waits: HashSet<HoldId>,
    /// Sockets that ever held a port.
    known: HashSet<HoldId>,
    events: Vec<Event>,
}

impl Model {
    /// Takes what has happened.
    pub(crate) fn take(&mut self, source: &mut LiveSource) {
        let mut events = std::mem::take(&mut self.events);
        source.drain(&mut events).expect("events");
        for event in events.drain(..) {
            self.apply(event.kind);
        }
        self.events = events;
    }

    fn apply(&mut self, event: EventKind) {
        match event {
            EventKind::Acquired(acquired) => {
                self.known.insert(acquired.hold);
                let before = self.holds.insert(acquired.hold, acquired);
                assert!(before.is_none(), "acquired twice: {before:?}");
            }
            EventKind::PortLearnt { hold, port } => {
                if let Some(held) = self.holds.get_mut(&hold) {
                    held.port = Some(port);
                }
            }
            EventKind::Released { hold } => {
                let held = self.holds.remove(&hold);
                assert!(held.is_some(), "released without being held: {hold:?}");
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
            EventKind::Lost { .. } => panic!("events were lost"),
            _ => {}
        }
    }

    /// What is not alike, a sentence each.
    pub(crate) fn compare(&self, kernel: &Kernel) -> Vec<String> {
        let mut differences = Vec::new();
        for (cookie, row) in &kernel.rows {
            match self.holds.get(&HoldId(*cookie)) {
                Some(hold) => differences.extend(differ(hold, row, kernel)),
                None if kernel.is_queued(row) => {}
                None => differences.push(format!("not told: {row:?}")),
            }
        }
        let here = self.holds.values().filter(|hold| hold.pool.netns == kernel.netns);
        let gone = here.filter(|hold| !kernel.rows.contains_key(&hold.hold.0));
        differences.extend(gone.map(|hold| format!("not held: {hold:?}")));
        let missed = kernel.time_waits.iter().map(|cookie| HoldId(*cookie));
        let missed = missed.filter(|hold| self.known.contains(hold) && !self.time_waits.contains(hold));
        differences.extend(missed.map(|hold| format!("TIME_WAIT not told: {hold:?}")));
        differences
    }
}

fn differ(hold: &Acquired, row: &SocketRow, kernel: &Kernel) -> Option<String> {
    let pid = match &hold.owner {
        OwnerId::Process(id) => Some(id.pid),
        OwnerId::System { .. } | OwnerId::Unowned => None,
    };
    // An orphan has no descriptor any more; its owner stays who it was.
    let owner = kernel.owners.get(&row.inode).copied().or(pid.filter(|_| row.inode == 0));
    let port = hold.port.unwrap_or(row.local_port);
    let alike = pid == owner && port == row.local_port && hold.pool.protocol == row.protocol;
    (!alike).then(|| format!("told {hold:?}\n  and is {row:?} of {owner:?}"))
}
