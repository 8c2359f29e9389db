//! Whose ports are reported. What is out of scope still counts in the pools.

use crate::event::{OwnerId, ProcessFacts, ProcessId, Protocol};
use rustc_hash::FxHashSet;

/// A filter on owners; an empty one takes everybody. System and unowned are always in scope.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Only these pids.
    pub pids: Vec<u32>,
    /// Only processes of this name.
    pub comm: Option<String>,
    /// Only this protocol.
    pub protocol: Option<Protocol>,
    /// Only this process and its descendants (`portleak run`).
    pub descendants_of: Option<u32>,
}

/// The family of the traced command: it and all that came of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Family {
    members: FxHashSet<ProcessId>,
    pids: FxHashSet<u32>,
}

impl Family {
    /// A process was forked.
    pub(super) fn forked(&mut self, scope: &Scope, parent: ProcessId, child: ProcessId) {
        if scope.descendants_of == Some(child.pid) || self.members.contains(&parent) {
            self.adopt(child);
        }
    }

    /// A process told its name; it belongs to the family if its parent does, should the record of
    /// its birth be lost.
    pub(super) fn named(&mut self, scope: &Scope, id: ProcessId, facts: &ProcessFacts) {
        let by_parent = facts.ppid.is_some_and(|ppid| self.pids.contains(&ppid));
        if scope.descendants_of == Some(id.pid) || by_parent {
            self.adopt(id);
        }
    }

    fn adopt(&mut self, id: ProcessId) {
        self.members.insert(id);
        self.pids.insert(id.pid);
    }

    /// Whether an owner is to be reported.
    pub(super) fn includes(&self, scope: &Scope, owner: &OwnerId, facts: Option<&ProcessFacts>) -> bool {
        let OwnerId::Process(id) = owner else {
            return true;
        };
        let by_pid = scope.pids.is_empty() || scope.pids.contains(&id.pid);
        let by_comm = scope.comm.as_deref().is_none_or(|comm| facts.is_some_and(|facts| &*facts.comm == comm));
        let by_family = scope.descendants_of.is_none() || self.members.contains(id);
        by_pid && by_comm && by_family
    }
}
