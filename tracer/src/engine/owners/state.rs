//! What is kept of one owner.

use super::OwnerIx;
use super::counts::Counts;
use super::lifetimes::Lifetimes;
use crate::engine::report::{Evidence, Owner, Verdict};
use crate::event::{OwnerId, ProcessFacts, Protocol};
use std::sync::Arc;

/// What is kept of one owner.
#[derive(Clone, Debug)]
pub(in crate::engine) struct OwnerState {
    pub(in crate::engine) id: OwnerId,
    pub(in crate::engine) facts: Option<Arc<ProcessFacts>>,
    /// The program that it is a process of.
    pub(in crate::engine) program: Option<OwnerIx>,
    pub(in crate::engine) tcp: Counts,
    pub(in crate::engine) udp: Counts,
    pub(in crate::engine) lifetimes: Lifetimes,
    pub(in crate::engine) verdict: Verdict,
    pub(in crate::engine) evidence: Vec<Evidence>,
    /// Ended: its verdict stays as it was then, for its ports go with it.
    pub(in crate::engine) ended: bool,
    /// An allocation of its failed; stays.
    pub(in crate::engine) exhausted: bool,
    /// Second of the last finding of a failure of its.
    pub(in crate::engine) failure_emitted: Option<u32>,
}

impl OwnerState {
    pub(super) fn new(id: OwnerId) -> Self {
        Self {
            // The verdict of a remainder is that of the owners folded into it; it has no series.
            ended: matches!(id, OwnerId::Others(_)),
            id,
            facts: None,
            program: None,
            tcp: Counts::default(),
            udp: Counts::default(),
            lifetimes: Lifetimes::default(),
            verdict: Verdict::Clean,
            evidence: Vec::new(),
            exhausted: false,
            failure_emitted: None,
        }
    }

    /// Sets what is known of it now. Its cgroup stays when it ended before it could be read again.
    pub(super) fn name(&mut self, mut facts: ProcessFacts) {
        if let Some(before) = self.facts.take()
            && facts.cgroup.is_none()
        {
            facts.cgroup.clone_from(&before.cgroup);
            facts.container.clone_from(&before.container);
            facts.service.clone_from(&before.service);
        }
        self.facts = Some(Arc::new(facts));
    }

    pub(in crate::engine) fn counts(&mut self, protocol: Protocol) -> &mut Counts {
        match protocol {
            Protocol::Tcp => &mut self.tcp,
            Protocol::Udp => &mut self.udp,
        }
    }

    pub(in crate::engine) fn held(&self) -> u64 {
        self.tcp.held() + self.udp.held()
    }

    pub(in crate::engine) fn named(&self) -> Owner {
        Owner { id: self.id.clone(), facts: self.facts.as_deref().cloned() }
    }

    pub(in crate::engine) fn has_ports(&self) -> bool {
        !self.tcp.is_empty() || !self.udp.is_empty()
    }

    /// Whether something was counted for it, though a remainder may have it all.
    pub(super) fn has_history(&self) -> bool {
        self.is_used() || self.tcp.flow.is_any() || self.udp.flow.is_any()
    }

    /// Whether a hold or a TIME_WAIT is charged to it.
    pub(super) fn is_used(&self) -> bool {
        self.tcp.live.is_any() || self.udp.live.is_any()
    }

    /// Whether a verdict says more of it than that it is clean.
    pub(in crate::engine) fn is_accused(&self) -> bool {
        self.verdict > Verdict::Clean || self.exhausted
    }

    /// Takes over all that was counted for an owner, and its verdict if that is graver.
    pub(super) fn absorb(&mut self, other: Self) {
        self.tcp.absorb(&other.tcp);
        self.udp.absorb(&other.udp);
        self.lifetimes.absorb(&other.lifetimes);
        self.exhausted |= other.exhausted;
        if other.verdict > self.verdict {
            self.verdict = other.verdict;
            self.evidence = other.evidence;
        }
    }
}
