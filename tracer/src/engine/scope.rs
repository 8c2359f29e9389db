//! Whose ports are reported. What is out of scope still counts in the pools, unless its pool is
//! out of scope itself.

use super::process_tree::ProcessTree;
use crate::event::{NetNs, OwnerId, PoolId, ProcessFacts, Protocol};
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

    /// Whether the kernel's totals of an owner are of ports in scope only. They do not tell namespaces
    /// apart: `netns` is the one that all of them are of, if the kernel said so. If not, a process is
    /// taken to use the ports of the namespace that it runs in.
    pub(super) fn takes_all_of(
        &self,
        owner: &OwnerId,
        netns: Option<NetNs>,
        facts: Option<&ProcessFacts>,
    ) -> bool {
        self.netns.is_none_or(|only| match owner {
            OwnerId::System { netns, .. } => *netns == only,
            OwnerId::Process(_) => netns.or_else(|| facts?.netns) == Some(only),
            OwnerId::Program(_) | OwnerId::Others(_) | OwnerId::Unowned => false,
        })
    }

    /// Whether an owner is to be reported.
    pub(super) fn includes(&self, owner: &OwnerId, facts: Option<&ProcessFacts>, tree: &ProcessTree) -> bool {
        let OwnerId::Process(id) = owner else {
            return true;
        };
        let by_pid = self.pids.is_empty() || self.pids.contains(&id.pid);
        let by_comm = self.comm.as_deref().is_none_or(|comm| facts.is_some_and(|facts| &*facts.comm == comm));
        let by_cgroup = self.cgroup.as_deref().is_none_or(|top| {
            facts.and_then(|facts| facts.cgroup.as_deref()).is_some_and(|path| is_below(path, top))
        });
        let by_tree = self.descendants_of.is_none() || tree.contains(*id);
        by_pid && by_comm && by_cgroup && by_tree
    }
}

/// Whether a cgroup is `top` or below it.
fn is_below(path: &str, top: &str) -> bool {
    let rest = path.strip_prefix(top.trim_end_matches('/'));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
