//! The process tree of `portleak run`: which processes descend from the traced command.

use crate::event::{ProcessFacts, ProcessId};
use rustc_hash::FxHashSet;

/// The traced command and its descendants.
#[derive(Clone, Debug, Default)]
pub(super) struct ProcessTree {
    /// The command's pid; `None` when no command is traced.
    root: Option<u32>,
    members: FxHashSet<ProcessId>,
    pids: FxHashSet<u32>,
    /// The kernel marks the members, so that a pid alone decides nothing.
    is_marked: bool,
}

impl ProcessTree {
    pub(super) fn new(root: Option<u32>) -> Self {
        Self { root, ..Self::default() }
    }

    /// A process was forked.
    pub(super) fn forked(&mut self, parent: ProcessId, child: ProcessId) {
        let is_root = !self.is_marked && self.root == Some(child.pid);
        if is_root || self.members.contains(&parent) {
            self.insert(child);
        }
    }

    /// The kernel's mark says that a process belongs to the tree.
    pub(super) fn marked(&mut self, id: ProcessId) {
        self.is_marked = true;
        self.insert(id);
    }

    /// A process was named. It belongs to the tree if its parent does: the record of its fork may be
    /// lost.
    pub(super) fn named(&mut self, id: ProcessId, facts: &ProcessFacts) {
        if self.is_marked {
            return;
        }
        let by_parent = facts.ppid.is_some_and(|ppid| self.pids.contains(&ppid));
        if self.root == Some(id.pid) || by_parent {
            self.insert(id);
        }
    }

    fn insert(&mut self, id: ProcessId) {
        self.members.insert(id);
        self.pids.insert(id.pid);
    }

    /// Whether a process belongs to the tree.
    pub(super) fn contains(&self, id: ProcessId) -> bool {
        self.members.contains(&id)
    }
}
