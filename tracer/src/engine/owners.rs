//! The owners: who they are, what they hold, and their verdicts.

use super::counts::Counts;
use super::lifetimes::Lifetimes;
use super::report::{Evidence, Owner, Verdict};
use crate::event::{OwnerId, ProcessFacts, ProcessId, ProgramId, Protocol};
use rustc_hash::FxHashMap;

/// Owners kept at once. Beyond, those that have ended and hold nothing go first, and are counted.
const OWNERS_MAX: usize = 16_384;

/// Programs told apart.
const PROGRAMS_MAX: usize = 4_096;

/// Index of an owner; never reused for another while anything refers to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct OwnerIx(pub(super) u32);

/// What is kept of one owner.
#[derive(Clone, Debug)]
pub(super) struct OwnerState {
    pub(super) id: OwnerId,
    pub(super) facts: Option<ProcessFacts>,
    /// The program that it is a process of.
    pub(super) program: Option<OwnerIx>,
    pub(super) tcp: Counts,
    pub(super) udp: Counts,
    pub(super) lifetimes: Lifetimes,
    pub(super) verdict: Verdict,
    pub(super) evidence: Vec<Evidence>,
    /// Ended: its verdict stays as it was then, for its ports go with it.
    pub(super) ended: bool,
    /// An allocation of its failed; stays.
    pub(super) exhausted: bool,
    /// Second of the last finding of a failure of its.
    pub(super) failure_emitted: Option<u32>,
}

impl OwnerState {
    fn new(id: OwnerId) -> Self {
        Self {
            id,
            facts: None,
            program: None,
            tcp: Counts::default(),
            udp: Counts::default(),
            lifetimes: Lifetimes::default(),
            verdict: Verdict::Clean,
            evidence: Vec::new(),
            ended: false,
            exhausted: false,
            failure_emitted: None,
        }
    }

    /// What is known of it now. Its place stays when it ended too soon to be asked again.
    pub(super) fn name(&mut self, mut facts: ProcessFacts) {
        if let Some(before) = self.facts.take()
            && facts.cgroup.is_none()
        {
            facts.cgroup = before.cgroup;
            facts.container = before.container;
            facts.service = before.service;
        }
        self.facts = Some(facts);
    }

    pub(super) fn counts(&mut self, protocol: Protocol) -> &mut Counts {
        match protocol {
            Protocol::Tcp => &mut self.tcp,
            Protocol::Udp => &mut self.udp,
        }
    }

    pub(super) fn held(&self) -> u64 {
        self.tcp.held() + self.udp.held()
    }

    pub(super) fn named(&self) -> Owner {
        Owner { id: self.id.clone(), facts: self.facts.clone() }
    }

    pub(super) fn has_ports(&self) -> bool {
        !self.tcp.is_empty() || !self.udp.is_empty()
    }

    /// Nothing refers to it any more and nothing would be missed in a report.
    fn is_done(&self) -> bool {
        self.ended && self.held() == 0 && self.tcp.time_waits() == 0 && self.verdict == Verdict::Clean
    }
}

/// All owners.
#[derive(Clone, Debug, Default)]
pub(super) struct Owners {
    by_id: FxHashMap<OwnerId, OwnerIx>,
    states: FxHashMap<OwnerIx, OwnerState>,
    next: u32,
    programs: usize,
    pub(super) evicted: u64,
}

impl Owners {
    /// The owner with this identity, entered if new.
    pub(super) fn enter(&mut self, id: &OwnerId) -> OwnerIx {
        if let Some(&ix) = self.by_id.get(id) {
            return ix;
        }
        if self.states.len() >= OWNERS_MAX {
            self.evict();
        }
        let ix = OwnerIx(self.next);
        self.next += 1;
        self.by_id.insert(id.clone(), ix);
        self.states.insert(ix, OwnerState::new(id.clone()));
        ix
    }

    /// What is known of a process now, and with it which program it is of.
    pub(super) fn name(&mut self, id: ProcessId, facts: ProcessFacts) {
        let ix = self.enter(&OwnerId::Process(id));
        let Some(owner) = self.states.get_mut(&ix) else {
            return;
        };
        owner.name(facts);
        let program = owner.facts.as_ref().and_then(program);
        let program = program.and_then(|(id, facts)| self.enter_program(id, facts));
        if let Some(owner) = self.states.get_mut(&ix) {
            owner.program = program;
        }
    }

    fn enter_program(&mut self, id: ProgramId, facts: ProcessFacts) -> Option<OwnerIx> {
        let id = OwnerId::Program(id);
        if let Some(&known) = self.by_id.get(&id) {
            return Some(known);
        }
        if self.programs >= PROGRAMS_MAX {
            return None;
        }
        self.programs += 1;
        let ix = self.enter(&id);
        self.states.get_mut(&ix)?.facts = Some(facts);
        Some(ix)
    }

    /// The owner with this identity, if it has been entered.
    pub(super) fn find(&self, id: &OwnerId) -> Option<OwnerIx> {
        self.by_id.get(id).copied()
    }

    pub(super) fn get(&self, ix: OwnerIx) -> Option<&OwnerState> {
        self.states.get(&ix)
    }

    pub(super) fn get_mut(&mut self, ix: OwnerIx) -> Option<&mut OwnerState> {
        self.states.get_mut(&ix)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (OwnerIx, &OwnerState)> {
        self.states.iter().map(|(&ix, state)| (ix, state))
    }

    /// Drops the owners that have ended and hold nothing.
    fn evict(&mut self) {
        let before = self.states.len();
        let by_id = &mut self.by_id;
        self.states.retain(|_, state| {
            let done = state.is_done();
            if done {
                by_id.remove(&state.id);
            }
            !done
        });
        self.evicted += (before - self.states.len()) as u64;
    }
}

/// The program of a process, and what its processes have in common.
fn program(facts: &ProcessFacts) -> Option<(ProgramId, ProcessFacts)> {
    let exe = facts.exe.as_ref().or(Some(&facts.comm).filter(|comm| !comm.is_empty()))?;
    let service = facts.service.as_ref().or(facts.container.as_ref());
    let id = ProgramId { exe: exe.clone(), service: service.cloned() };
    let common = ProcessFacts { cmdline: None, uid: None, ppid: None, ..facts.clone() };
    Some((id, common))
}
