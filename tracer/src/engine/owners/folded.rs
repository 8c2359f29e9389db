//! What is remembered of an owner that was folded into a remainder.
//!
//! Its holds and TIME_WAITs still name it, and the kernel may still report its totals, which count
//! from the beginning of the trace. So its own counters go on here, and only what they change is
//! passed on to the remainder: nothing is added twice, whatever comes late.

use super::OwnerIx;
use super::counts::{Change, Counts, Flow, Live};
use super::state::OwnerState;
use crate::event::{OwnerId, ProcessFacts, Protocol, Totals};
use std::sync::Arc;

/// A folded owner.
#[derive(Clone, Debug)]
pub(super) struct Folded {
    pub(super) id: OwnerId,
    /// Its name, for when it comes back; not kept once it has ended.
    pub(super) facts: Option<Arc<ProcessFacts>>,
    /// The remainder that its counts went into; `None` if it was out of scope.
    pub(super) to: Option<OwnerIx>,
    pub(super) ended: bool,
    tcp: Residue,
    udp: Residue,
}

/// What goes on of one protocol.
#[derive(Clone, Copy, Debug, Default)]
struct Residue {
    flow: Flow,
    /// Ports held, as reported; in the remainder.
    held: u64,
    live: Live,
}

impl Residue {
    fn of(counts: &Counts) -> Self {
        Self { flow: counts.flow, held: counts.held(), live: counts.live }
    }

    fn keep(&mut self, passed: &Change) {
        let held = passed.acquired + passed.pre_existing + passed.moved_in - passed.released;
        self.held = self.held.saturating_add_signed(held);
        self.live.add(&passed.live);
    }
}

impl Folded {
    pub(super) fn of(state: &OwnerState, to: Option<OwnerIx>) -> Self {
        Self {
            id: state.id.clone(),
            facts: state.facts.clone().filter(|_| !state.ended),
            to,
            ended: state.ended,
            tcp: Residue::of(&state.tcp),
            udp: Residue::of(&state.udp),
        }
    }

    /// Whether a hold or a TIME_WAIT names it.
    pub(super) fn is_used(&self) -> bool {
        self.tcp.live.is_any() || self.udp.live.is_any()
    }

    /// Applies a change. Returns what it changes in the remainder.
    pub(super) fn apply(&mut self, protocol: Protocol, change: &Change) -> Change {
        let residue = self.residue(protocol);
        let passed = residue.flow.pass(change);
        residue.keep(&passed);
        passed
    }

    /// Takes over the kernel's totals. Returns what they change in the remainder.
    pub(super) fn set_kernel(&mut self, protocol: Protocol, totals: Totals) -> Change {
        let residue = self.residue(protocol);
        let passed = residue.flow.set_kernel(totals);
        residue.keep(&passed);
        passed
    }

    /// What leaves the remainder when this owner comes back, or is forgotten: all that it holds.
    pub(super) fn withdrawal(&self, protocol: Protocol) -> Change {
        let residue = match protocol {
            Protocol::Tcp => &self.tcp,
            Protocol::Udp => &self.udp,
        };
        let held = residue.held.cast_signed();
        Change { released: held, moved_out: held, live: residue.live.negated(), ..Change::default() }
    }

    /// The owner that comes back, with what it holds.
    pub(super) fn into_state(self) -> OwnerState {
        let counts = |of: Residue| match self.to {
            Some(_) => Counts::unfolded(of.flow, of.held, of.live),
            None => Counts::restored(of.flow, of.held, of.live),
        };
        OwnerState {
            facts: self.facts,
            tcp: counts(self.tcp),
            udp: counts(self.udp),
            ..OwnerState::new(self.id)
        }
    }

    fn residue(&mut self, protocol: Protocol) -> &mut Residue {
        match protocol {
            Protocol::Tcp => &mut self.tcp,
            Protocol::Udp => &mut self.udp,
        }
    }
}
