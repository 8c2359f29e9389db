//! Whose ports are reported. What is out of scope still counts in the pools, unless its pool is
//! out of scope itself.

use crate::event::{NetNs, OwnerId, PoolId, ProcessFacts, ProcessId, Protocol};
use rustc_hash::FxHashSet;
use serde::{Deserialize, Serialize};

/// A filter on owners; an empty one takes everybody. System and unowned are always in scope.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Scope {
    /// Only these pids.
    pub pids: Vec<u32>,
    /// Only processes of this name.
    pub comm: Option<String>,
    /// Only processes in this cgroup or below it.
    pub cgroup: Option<String>,
    /// Only this protocol.
    pub protocol: Option<Protocol>,
    /// Only ports of this network namespace.
    pub netns: Option<NetNs>,
    /// Only this process and its descendants (`portleak run`).
    pub descendants_of: Option<u32>,
}

impl Scope {
    /// Whether a pool is to be reported.
    #[must_use]
    pub fn takes(&self, pool: PoolId) -> bool {
        self.protocol.is_none_or(|only| only == pool.protocol)
            && self.netns.is_none_or(|only| only == pool.netns)
    }

    /// Whether the kernel's totals of an owner, which do not tell namespaces apart, are of ports
    /// in scope only.
    pub(super) fn takes_all_of(&self, owner: &OwnerId, facts: Option<&ProcessFacts>) -> bool {
        self.netns.is_none_or(|only| match owner {
            OwnerId::System { netns, .. } => *netns == only,
            OwnerId::Process(_) => facts.and_then(|facts| facts.netns) == Some(only),
            OwnerId::Program(_) | OwnerId::Unowned => false,
        })
    }
}

/// The family of the traced command: it and all that came of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Family {
    members: FxHashSet<ProcessId>,
    pids: FxHashSet<u32>,
    /// The kernel marks the members, so a pid alone proves nothing.
    is_marked: bool,
}

impl Family {
    /// A process was forked.
    pub(super) fn forked(&mut self, scope: &Scope, parent: ProcessId, child: ProcessId) {
        let is_root = !self.is_marked && scope.descendants_of == Some(child.pid);
        if is_root || self.members.contains(&parent) {
            self.adopt(child);
        }
    }

    /// The kernel says that a process belongs to the family.
    pub(super) fn marked(&mut self, id: ProcessId) {
        self.is_marked = true;
        self.adopt(id);
    }

    /// A process told its name; it belongs to the family if its parent does, should the record of
    /// its birth be lost.
    pub(super) fn named(&mut self, scope: &Scope, id: ProcessId, facts: &ProcessFacts) {
        if self.is_marked {
            return;
        }
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
        let by_comm =
            scope.comm.as_deref().is_none_or(|comm| facts.is_some_and(|facts| &*facts.comm == comm));
        let by_cgroup = scope.cgroup.as_deref().is_none_or(|top| {
            facts.and_then(|facts| facts.cgroup.as_deref()).is_some_and(|path| is_below(path, top))
        });
        let by_family = scope.descendants_of.is_none() || self.members.contains(id);
        by_pid && by_comm && by_cgroup && by_family
    }
}

/// Whether a cgroup is `top` or below it.
fn is_below(path: &str, top: &str) -> bool {
    let rest = path.strip_prefix(top.trim_end_matches('/'));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
