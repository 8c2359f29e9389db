//! The process tree of `portleak run`: which processes descend from the traced command.
//!
//! Where the source marks descendants ([`EventKind::Descendant`](crate::event::EventKind::Descendant)),
//! the mark and forks from a live member decide. Elsewhere a process belongs to the tree by its
//! parent's pid as well, as long as the parent lives: a pid alone is used again.

use crate::event::{ProcessFacts, ProcessId};
use rustc_hash::FxHashMap;
use std::collections::VecDeque;

/// The traced command and its descendants.
#[derive(Clone, Debug)]
pub(super) struct ProcessTree {
    /// The command's pid; `None` when no command is traced.
    root: Option<u32>,
    /// Whether the command has been seen: its pid means another process from then on.
    has_root: bool,
    /// The members, and whether each lives.
    members: FxHashMap<ProcessId, bool>,
    /// Live members by pid.
    pids: FxHashMap<u32, ProcessId>,
    /// Members in order of their joining, and in order of their end. A late event may still be of one
    /// that has ended.
    joined: VecDeque<ProcessId>,
    ended: VecDeque<ProcessId>,
    max: usize,
    is_marked: bool,
    /// Members that made room for others.
    pub(super) evicted: u64,
}

impl ProcessTree {
    /// A tree of at most `max` processes.
    pub(super) fn new(root: Option<u32>, max: usize) -> Self {
        Self {
            root,
            has_root: false,
            members: FxHashMap::default(),
            pids: FxHashMap::default(),
            joined: VecDeque::new(),
            ended: VecDeque::new(),
            max,
            is_marked: false,
            evicted: 0,
        }
    }

    /// A process was forked.
    pub(super) fn forked(&mut self, parent: ProcessId, child: ProcessId) {
        if self.is_new_root(child) || self.members.get(&parent).is_some_and(|&lives| lives) {
            self.insert(child);
        }
    }

    /// The kernel's mark says that a process belongs to the tree.
    pub(super) fn marked(&mut self, id: ProcessId) {
        self.is_marked = true;
        self.insert(id);
    }

    /// A process was named. Without marks it belongs to the tree if its parent does: the record of its
    /// fork may be lost.
    pub(super) fn named(&mut self, id: ProcessId, facts: &ProcessFacts) {
        let by_parent = || facts.ppid.is_some_and(|ppid| self.pids.contains_key(&ppid));
        if self.is_new_root(id) || !self.is_marked && by_parent() {
            self.insert(id);
        }
    }

    /// A process ended.
    pub(super) fn exited(&mut self, id: ProcessId) {
        if let Some(lives) = self.members.get_mut(&id).filter(|lives| **lives) {
            *lives = false;
            self.ended.push_back(id);
            if self.pids.get(&id.pid) == Some(&id) {
                self.pids.remove(&id.pid);
            }
        }
    }

    /// Whether a process belongs to the tree.
    pub(super) fn contains(&self, id: ProcessId) -> bool {
        self.members.contains_key(&id)
    }

    fn is_new_root(&self, id: ProcessId) -> bool {
        !self.is_marked && !self.has_root && self.root == Some(id.pid)
    }

    fn insert(&mut self, id: ProcessId) {
        if self.root.is_none() || self.members.contains_key(&id) {
            return;
        }
        self.has_root |= self.root == Some(id.pid);
        self.members.insert(id, true);
        self.pids.insert(id.pid, id);
        self.joined.push_back(id);
        while self.members.len() > self.max
            && let Some(id) = self.ended.pop_front().or_else(|| self.joined.pop_front())
        {
            self.evict(id);
        }
        if self.joined.len() > 2 * self.max {
            let members = &self.members;
            self.joined.retain(|id| members.contains_key(id));
        }
    }

    fn evict(&mut self, id: ProcessId) {
        if self.members.remove(&id).is_some() {
            self.evicted += 1;
        }
        if self.pids.get(&id.pid) == Some(&id) {
            self.pids.remove(&id.pid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32) -> ProcessId {
        ProcessId { pid, started_ticks: u64::from(pid) }
    }

    #[test]
    fn a_pid_that_is_used_again_does_not_join() {
        let mut tree = ProcessTree::new(Some(10), 100);
        tree.forked(process(1), process(10));
        tree.forked(process(10), process(11));
        tree.exited(process(10));
        tree.exited(process(11));
        let again = |pid| ProcessId { pid, started_ticks: 99 };
        tree.forked(process(1), again(10));
        let facts = ProcessFacts { ppid: Some(11), ..ProcessFacts::default() };
        tree.named(process(12), &facts);
        assert_eq!([again(10), process(12)].map(|id| tree.contains(id)), [false, false]);
        assert!(tree.contains(process(11)), "its late events are still the tree's");
    }

    #[test]
    fn it_is_bounded_and_forgets_the_ended_first() {
        let mut tree = ProcessTree::new(Some(10), 3);
        tree.forked(process(1), process(10));
        for pid in 11..1_000 {
            tree.forked(process(10), process(pid));
            tree.exited(process(pid));
        }
        assert_eq!(
            (tree.members.len(), tree.contains(process(10)), tree.contains(process(999))),
            (3, true, true)
        );
        assert!(tree.joined.len() <= 6 && tree.pids.len() == 1 && tree.ended.len() <= 3);
        assert_eq!(tree.evicted, 987);
    }
}
