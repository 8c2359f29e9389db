//! The owners: who they are, what they hold, and their verdicts.
//!
//! The table is bounded. An owner beyond its limits is *folded*: its counts go into the remainder of
//! its program (`OwnerId::Others`), so that the sums over all owners stay what they were. Programs,
//! which own the series that span processes, and remainders are in the same table.

mod counts;
mod folded;
mod lifetimes;
mod state;

pub(super) use counts::Change;
pub(super) use state::OwnerState;

use super::limits::Limits;
use super::recency::Recency;
use crate::event::{OwnerId, ProcessFacts, ProgramId, Protocol, Totals};
use folded::Folded;
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use std::sync::Arc;

/// Bits of an index that are its slot; the others count how often the slot was used again.
const SLOT_BITS: u32 = 18;
const SLOTS_MAX: u32 = 1 << SLOT_BITS;

/// Index of an owner. An index of an owner that is gone finds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct OwnerIx(u32);

impl OwnerIx {
    fn slot(self) -> u32 {
        self.0 & (SLOTS_MAX - 1)
    }

    /// The next index of the same slot.
    fn next(self) -> Self {
        Self(self.0.wrapping_add(SLOTS_MAX))
    }
}

/// The classes that owners are evicted from, in order of eviction, and those that have a limit of
/// their own.
mod class {
    /// Ended, clean, and nothing is charged to it.
    pub(super) const DONE: u8 = 0;
    /// Ended and clean.
    pub(super) const ENDED: u8 = 1;
    /// Clean.
    pub(super) const CLEAN: u8 = 2;
    /// Ended with a verdict.
    pub(super) const ENDED_ACCUSED: u8 = 3;
    /// With a verdict.
    pub(super) const ACCUSED: u8 = 4;
    pub(super) const PROGRAM: u8 = 5;
    pub(super) const PROGRAM_ACCUSED: u8 = 6;
    pub(super) const REMAINDER: u8 = 7;
    /// Folded, and nothing is to come of it but late totals.
    pub(super) const FOLDED_ENDED: u8 = 8;
    pub(super) const FOLDED_LIVE: u8 = 9;
    /// Never evicted: unowned ports, and the remainder of all.
    pub(super) const PINNED: u8 = 10;
    pub(super) const COUNT: usize = 11;
}

#[derive(Clone, Debug)]
enum Entry {
    Full(Box<OwnerState>),
    Folded(Box<Folded>),
}

#[derive(Clone, Debug)]
struct Slot {
    ix: OwnerIx,
    entry: Option<Entry>,
}

/// All owners.
#[derive(Clone, Debug, Default)]
pub(super) struct OwnerTable {
    limits: Limits,
    by_id: FxHashMap<OwnerId, OwnerIx>,
    slots: Vec<Slot>,
    /// Slots without an owner, longest free first: so that an index is not used again soon.
    free: VecDeque<u32>,
    order: Recency<{ class::COUNT }>,
    /// How often an owner was folded into a remainder.
    pub(super) folded: u64,
    /// Programs that made room for others.
    pub(super) evicted: u64,
}

impl OwnerTable {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// The owner with this identity, entered if new. The caller has made room for it
    /// ([`OwnerTable::surplus`]).
    pub(super) fn enter(&mut self, id: &OwnerId) -> OwnerIx {
        let ix = match self.by_id.get(id) {
            Some(&ix) => ix,
            None => return self.insert(OwnerState::new(id.clone())),
        };
        if matches!(self.entry(ix), Some(Entry::Folded(_))) {
            self.unfold(ix);
        }
        self.touch(ix);
        ix
    }

    /// The owner with this identity, folded or not.
    pub(super) fn find(&self, id: &OwnerId) -> Option<OwnerIx> {
        self.by_id.get(id).copied()
    }

    /// The owner of an index, unless it is folded or gone.
    pub(super) fn get(&self, ix: OwnerIx) -> Option<&OwnerState> {
        match self.entry(ix)? {
            Entry::Full(state) => Some(state),
            Entry::Folded(_) => None,
        }
    }

    pub(super) fn get_mut(&mut self, ix: OwnerIx) -> Option<&mut OwnerState> {
        match self.entry_mut(ix)? {
            Entry::Full(state) => Some(state),
            Entry::Folded(_) => None,
        }
    }

    /// Who is charged for what names `ix`: itself, or the remainder that it was folded into.
    pub(super) fn charged(&self, ix: OwnerIx) -> Option<OwnerIx> {
        match self.entry(ix)? {
            Entry::Full(_) => Some(ix),
            Entry::Folded(folded) => self.charged(folded.to?),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (OwnerIx, &OwnerState)> {
        self.slots.iter().filter_map(|slot| match slot.entry.as_ref()? {
            Entry::Full(state) => Some((slot.ix, &**state)),
            Entry::Folded(_) => None,
        })
    }

    /// Counts a change for an owner, or for the remainder that it was folded into.
    pub(super) fn charge(&mut self, ix: OwnerIx, protocol: Protocol, change: &Change) {
        match self.entry_mut(ix) {
            Some(Entry::Full(state)) => {
                state.counts(protocol).apply(change);
                self.touch(ix);
            }
            Some(Entry::Folded(folded)) => {
                let (to, passed) = (folded.to, folded.apply(protocol, change));
                self.pass(ix, to, protocol, &passed);
            }
            None => {}
        }
    }

    /// Takes over the kernel's totals of an owner, folded or not.
    pub(super) fn set_totals(&mut self, ix: OwnerIx, protocol: Protocol, totals: Totals) {
        match self.entry_mut(ix) {
            Some(Entry::Full(state)) => state.counts(protocol).set_kernel(totals),
            Some(Entry::Folded(folded)) => {
                let (to, passed) = (folded.to, folded.set_kernel(protocol, totals));
                self.pass(ix, to, protocol, &passed);
            }
            None => {}
        }
    }

    fn pass(&mut self, ix: OwnerIx, to: Option<OwnerIx>, protocol: Protocol, passed: &Change) {
        self.touch(ix);
        let Some(to) = to else {
            return;
        };
        // The remainder of a program may be gone, folded itself and forgotten.
        let to = if self.entry(to).is_some() { to } else { self.enter(&OwnerId::Others(None)) };
        self.charge(to, protocol, passed);
    }

    /// Sets what is known of a process now, and with it which program it is of.
    pub(super) fn name(&mut self, id: &OwnerId, facts: &ProcessFacts) {
        let known = self.find(id);
        if let Some(Entry::Folded(folded)) = known.and_then(|ix| self.entry_mut(ix)) {
            folded.facts = (!folded.ended).then(|| Arc::new(facts.clone()));
            return;
        }
        let ix = self.enter(id);
        if let Some(owner) = self.get_mut(ix) {
            owner.name(facts.clone());
            owner.program = None;
        }
        self.program_of(ix);
    }

    /// The program of an owner, entered again if it was evicted.
    pub(super) fn program_of(&mut self, ix: OwnerIx) -> Option<OwnerIx> {
        let owner = self.get(ix)?;
        if let Some(program) = owner.program.filter(|&program| self.get(program).is_some()) {
            self.touch(program);
            return Some(program);
        }
        let program = program_of(owner.facts.as_deref()?).map(|(id, facts)| {
            let program = self.enter(&OwnerId::Program(id));
            if let Some(program) = self.get_mut(program) {
                program.facts.get_or_insert_with(|| Arc::new(facts));
            }
            program
        });
        self.get_mut(ix)?.program = program;
        program
    }

    /// A process ended.
    pub(super) fn end(&mut self, ix: OwnerIx) {
        match self.entry_mut(ix) {
            Some(Entry::Full(state)) => state.ended = true,
            Some(Entry::Folded(folded)) => {
                folded.ended = true;
                folded.facts = None;
            }
            None => return,
        }
        self.touch(ix);
    }

    /// Makes an owner the most recently used one of its class, which may have changed.
    pub(super) fn touch(&mut self, ix: OwnerIx) {
        if let Some(class) = self.entry(ix).map(class_of) {
            self.order.touch(ix.slot(), class);
        }
    }

    /// The owner to fold next, if there are more than the limits allow with room for so many.
    pub(super) fn surplus(&self, room: usize) -> Option<OwnerIx> {
        let ended = [class::DONE, class::ENDED];
        let all = [class::DONE, class::ENDED, class::CLEAN, class::ENDED_ACCUSED, class::ACCUSED];
        let owners = self.limits.owners.saturating_sub(room);
        self.oldest_beyond(self.limits.ended, &ended).or_else(|| self.oldest_beyond(owners, &all))
    }

    /// Folds an owner into the remainder of its program. One that is out of scope leaves no trace,
    /// nor does one that never had a port.
    pub(super) fn fold(&mut self, ix: OwnerIx, in_scope: bool) {
        let Some(state) = self.get(ix) else {
            return;
        };
        let has_any = state.has_ports() || state.has_history() || state.is_accused();
        if !has_any || !in_scope && !state.is_used() {
            self.remove(ix);
            return;
        }
        let counts = in_scope;
        let program = state.facts.as_deref().and_then(program_of);
        let to = counts.then(|| self.remainder(program));
        self.folded += u64::from(counts);
        self.fold_into(ix, to);
        self.trim();
    }

    /// The remainder for an owner of a program.
    fn remainder(&mut self, program: Option<(ProgramId, ProcessFacts)>) -> OwnerIx {
        let Some((id, facts)) = program.filter(|_| self.limits.remainders > 0) else {
            return self.enter(&OwnerId::Others(None));
        };
        let ix = self.enter(&OwnerId::Others(Some(id)));
        if let Some(remainder) = self.get_mut(ix) {
            remainder.facts.get_or_insert_with(|| Arc::new(facts));
        }
        ix
    }

    fn fold_into(&mut self, ix: OwnerIx, to: Option<OwnerIx>) {
        let Some(Entry::Full(state)) = self.entry(ix) else {
            return;
        };
        let folded = Box::new(Folded::of(state, to));
        let Some(slot) = self.slots.get_mut(ix.slot() as usize) else {
            return;
        };
        if let Some(Entry::Full(state)) = slot.entry.replace(Entry::Folded(folded))
            && let Some(remainder) = to.and_then(|to| self.get_mut(to))
        {
            remainder.absorb(*state);
        }
        self.touch(ix);
        to.into_iter().for_each(|to| self.touch(to));
    }

    /// A folded owner comes back: it takes out of its remainder what it holds.
    fn unfold(&mut self, ix: OwnerIx) {
        let Some(slot) = self.slots.get_mut(ix.slot() as usize).filter(|slot| slot.ix == ix) else {
            return;
        };
        let Some(Entry::Folded(folded)) = slot.entry.take() else {
            return;
        };
        let (to, back) = (folded.to, [Protocol::Tcp, Protocol::Udp].map(|of| (of, folded.withdrawal(of))));
        slot.entry = Some(Entry::Full(Box::new(folded.into_state())));
        for (protocol, change) in back {
            to.into_iter().for_each(|to| self.charge(to, protocol, &change));
        }
        self.program_of(ix);
    }

    /// Evicts remainders, programs and memories of folded owners beyond their limits.
    fn trim(&mut self) {
        while let Some(ix) = self.oldest_beyond(self.limits.remainders, &[class::REMAINDER]) {
            let all = self.enter(&OwnerId::Others(None));
            self.fold_into(ix, Some(all));
        }
        let programs = [class::PROGRAM, class::PROGRAM_ACCUSED];
        while let Some(ix) = self.oldest_beyond(self.limits.programs, &programs) {
            self.evicted += 1;
            self.remove(ix);
        }
        while let Some(ix) = self.oldest_beyond(self.limits.folded_ended, &[class::FOLDED_ENDED]) {
            self.remove(ix);
        }
        while let Some(ix) = self.oldest_beyond(self.limits.folded_live, &[class::FOLDED_LIVE]) {
            self.evicted += 1;
            self.forget(ix);
        }
    }

    /// Forgets a folded owner that still holds something: nobody will be charged for its release.
    fn forget(&mut self, ix: OwnerIx) {
        if let Some(Entry::Folded(folded)) = self.entry(ix) {
            let (to, gone) =
                (folded.to, [Protocol::Tcp, Protocol::Udp].map(|of| (of, folded.withdrawal(of))));
            for (protocol, change) in gone {
                to.into_iter().for_each(|to| self.charge(to, protocol, &change));
            }
        }
        self.remove(ix);
    }

    /// The oldest of some classes if they have more than so many, first class first.
    fn oldest_beyond(&self, limit: usize, classes: &[u8]) -> Option<OwnerIx> {
        if classes.iter().map(|&class| self.order.len(class)).sum::<usize>() <= limit {
            return None;
        }
        let slot = classes.iter().find_map(|&class| self.order.oldest(class))?;
        Some(self.slots.get(slot as usize)?.ix)
    }

    fn insert(&mut self, state: OwnerState) -> OwnerIx {
        let id = state.id.clone();
        let entry = Some(Entry::Full(Box::new(state)));
        let ix = match self.free.pop_front() {
            Some(slot) => {
                let slot = &mut self.slots[slot as usize];
                slot.entry = entry;
                slot.ix
            }
            None => {
                #[expect(clippy::cast_possible_truncation, reason = "the limits are far below")]
                let ix = OwnerIx(self.slots.len() as u32);
                self.slots.push(Slot { ix, entry });
                ix
            }
        };
        self.by_id.insert(id, ix);
        self.touch(ix);
        self.trim();
        ix
    }

    fn remove(&mut self, ix: OwnerIx) {
        let Some(slot) = self.slots.get_mut(ix.slot() as usize).filter(|slot| slot.ix == ix) else {
            return;
        };
        let id = match slot.entry.take() {
            Some(Entry::Full(state)) => state.id,
            Some(Entry::Folded(folded)) => folded.id,
            None => return,
        };
        slot.ix = ix.next();
        self.by_id.remove(&id);
        self.order.remove(ix.slot());
        self.free.push_back(ix.slot());
    }

    fn entry(&self, ix: OwnerIx) -> Option<&Entry> {
        self.slots.get(ix.slot() as usize).filter(|slot| slot.ix == ix)?.entry.as_ref()
    }

    fn entry_mut(&mut self, ix: OwnerIx) -> Option<&mut Entry> {
        self.slots.get_mut(ix.slot() as usize).filter(|slot| slot.ix == ix)?.entry.as_mut()
    }
}

fn class_of(entry: &Entry) -> u8 {
    match entry {
        Entry::Folded(folded) if folded.ended && !folded.is_used() => class::FOLDED_ENDED,
        Entry::Folded(_) => class::FOLDED_LIVE,
        Entry::Full(state) => match (&state.id, state.is_accused()) {
            (OwnerId::Unowned | OwnerId::Others(None), _) => class::PINNED,
            (OwnerId::Others(Some(_)), _) => class::REMAINDER,
            (OwnerId::Program(_), false) => class::PROGRAM,
            (OwnerId::Program(_), true) => class::PROGRAM_ACCUSED,
            (OwnerId::Process(_) | OwnerId::System { .. }, false) => match (state.ended, state.is_used()) {
                (true, false) => class::DONE,
                (true, true) => class::ENDED,
                (false, _) => class::CLEAN,
            },
            (OwnerId::Process(_) | OwnerId::System { .. }, true) if state.ended => class::ENDED_ACCUSED,
            (OwnerId::Process(_) | OwnerId::System { .. }, true) => class::ACCUSED,
        },
    }
}

/// The program of a process, and what its processes have in common.
fn program_of(facts: &ProcessFacts) -> Option<(ProgramId, ProcessFacts)> {
    let exe = facts.exe.as_ref().or(Some(&facts.comm).filter(|comm| !comm.is_empty()))?;
    let service = facts.service.as_ref().or(facts.container.as_ref());
    let id = ProgramId { exe: exe.clone(), service: service.cloned() };
    let common = ProcessFacts { cmdline: None, uid: None, ppid: None, ..facts.clone() };
    Some((id, common))
}
