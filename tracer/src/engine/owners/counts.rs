//! What is counted for one owner and protocol.

use crate::engine::report::ProtocolReport;
use crate::event::{FailureCode, Protocol, SocketState, Totals};
use std::collections::BTreeMap;

/// One change of an owner's counters. Every hold, TIME_WAIT and failure comes in as such changes, so
/// that they can be passed on to a remainder.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::engine) struct Change {
    /// Ports acquired and released.
    pub(super) acquired: i64,
    pub(super) released: i64,
    /// Held before tracing began.
    pub(super) pre_existing: i64,
    /// Came from, or went to, another owner. Those that went are among `released` as well.
    pub(super) moved_in: i64,
    pub(super) moved_out: i64,
    pub(super) live: Live,
    pub(super) failed: Option<FailureCode>,
}

impl Change {
    pub(in crate::engine) fn acquire(pre_existing: bool, state: SocketState) -> Self {
        let (new, old) = if pre_existing { (0, 1) } else { (1, 0) };
        Self { acquired: new, pre_existing: old, live: Live::hold(state, 1), ..Self::default() }
    }

    /// An acquisition of which only the number is kept.
    pub(in crate::engine) fn untracked(pre_existing: bool) -> Self {
        Self { live: Live::default(), ..Self::acquire(pre_existing, SocketState::Connected) }
    }

    pub(in crate::engine) fn release(state: SocketState) -> Self {
        Self { released: 1, live: Live::hold(state, -1), ..Self::default() }
    }

    /// A port came from another owner: like one that was held before.
    pub(in crate::engine) fn move_in(state: SocketState) -> Self {
        Self { moved_in: 1, live: Live::hold(state, 1), ..Self::default() }
    }

    /// A port went to another owner: like one that was released.
    pub(in crate::engine) fn move_out(state: SocketState) -> Self {
        Self { moved_out: 1, ..Self::release(state) }
    }

    /// An acquisition turned out not to have happened.
    pub(in crate::engine) fn retract(state: SocketState) -> Self {
        Self { acquired: -1, live: Live::hold(state, -1), ..Self::default() }
    }

    /// A hold went from a state to another.
    pub(in crate::engine) fn state(before: SocketState, after: SocketState) -> Self {
        let mut live = Live::hold(before, -1);
        live.add(&Live::hold(after, 1));
        Self { live, ..Self::default() }
    }

    pub(in crate::engine) fn time_wait(change: i32) -> Self {
        Self { live: Live { time_wait: change, ..Live::default() }, ..Self::default() }
    }

    pub(in crate::engine) fn fail(code: FailureCode) -> Self {
        Self { failed: Some(code), ..Self::default() }
    }
}

/// Holds in the hold table, some of their states, and TIME_WAITs; or changes of their numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::engine) struct Live {
    pub(super) holds: i32,
    pub(super) bound_only: i32,
    pub(super) close_wait: i32,
    pub(super) syn_sent: i32,
    pub(super) time_wait: i32,
}

impl Live {
    fn hold(state: SocketState, change: i32) -> Self {
        let mut live = Self { holds: change, ..Self::default() };
        match state {
            SocketState::Bound => live.bound_only = change,
            SocketState::CloseWait => live.close_wait = change,
            SocketState::SynSent => live.syn_sent = change,
            SocketState::Listen | SocketState::Connected | SocketState::Closing => {}
        }
        live
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.holds += other.holds;
        self.bound_only += other.bound_only;
        self.close_wait += other.close_wait;
        self.syn_sent += other.syn_sent;
        self.time_wait += other.time_wait;
    }

    pub(super) fn negated(self) -> Self {
        let mut negated = Self::default();
        negated.holds -= self.holds;
        negated.bound_only -= self.bound_only;
        negated.close_wait -= self.close_wait;
        negated.syn_sent -= self.syn_sent;
        negated.time_wait -= self.time_wait;
        negated
    }

    /// Whether a hold or a TIME_WAIT is left.
    pub(super) fn is_any(&self) -> bool {
        self.holds > 0 || self.time_wait > 0
    }
}

/// Acquisitions and releases: as seen in events, and as the kernel counted them.
///
/// What the kernel counted is right even when events were lost; events may be ahead of what it last
/// said. So the higher number counts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flow {
    seen: Totals,
    kernel: Totals,
}

impl Flow {
    pub(super) fn known(&self) -> Totals {
        Totals {
            acquired: self.seen.acquired.max(self.kernel.acquired),
            released: self.seen.released.max(self.kernel.released),
        }
    }

    pub(super) fn is_any(&self) -> bool {
        self.known() != Totals::default()
    }

    fn apply(&mut self, change: &Change) {
        self.seen.acquired = self.seen.acquired.saturating_add_signed(change.acquired);
        self.seen.released = self.seen.released.saturating_add_signed(change.released);
    }

    /// Applies a change and returns it with what it changed in the numbers known.
    pub(super) fn pass(&mut self, change: &Change) -> Change {
        let before = self.known();
        self.apply(change);
        let moved = self.since(before);
        Change { acquired: moved.acquired, released: moved.released, ..*change }
    }

    /// Takes over the kernel's totals and returns what they changed in the numbers known.
    pub(super) fn set_kernel(&mut self, totals: Totals) -> Change {
        let before = self.known();
        self.kernel = totals;
        self.since(before)
    }

    fn since(&self, before: Totals) -> Change {
        let now = self.known();
        Change {
            acquired: now.acquired.cast_signed() - before.acquired.cast_signed(),
            released: now.released.cast_signed() - before.released.cast_signed(),
            ..Change::default()
        }
    }
}

/// Counters of one owner and protocol.
#[derive(Clone, Debug, Default)]
pub(in crate::engine) struct Counts {
    pub(super) flow: Flow,
    /// What a remainder already has of `flow`.
    folded: Totals,
    pre_existing: u64,
    moved_in: u64,
    moved_out: u64,
    pub(super) live: Live,
    failed: BTreeMap<FailureCode, u64>,
}

impl Counts {
    /// Counters of an owner that comes back with `held` ports, the rest being in a remainder.
    pub(super) fn unfolded(flow: Flow, held: u64, live: Live) -> Self {
        Self { flow, folded: flow.known(), moved_in: held, live, ..Self::default() }
    }

    /// Counters of an owner that was in no remainder.
    pub(super) fn restored(flow: Flow, held: u64, live: Live) -> Self {
        let Totals { acquired, released } = flow.known();
        Self { flow, moved_in: (held + released).saturating_sub(acquired), live, ..Self::default() }
    }

    pub(in crate::engine) fn apply(&mut self, change: &Change) {
        self.flow.apply(change);
        self.pre_existing = self.pre_existing.saturating_add_signed(change.pre_existing);
        self.moved_in = self.moved_in.saturating_add_signed(change.moved_in);
        self.moved_out = self.moved_out.saturating_add_signed(change.moved_out);
        self.live.add(&change.live);
        if let Some(code) = change.failed {
            *self.failed.entry(code).or_default() += 1;
        }
    }

    pub(super) fn set_kernel(&mut self, totals: Totals) {
        self.flow.set_kernel(totals);
    }

    /// Adds all that another owner counted.
    pub(super) fn absorb(&mut self, other: &Self) {
        self.flow.seen.acquired += other.acquired();
        self.flow.seen.released += other.released();
        self.pre_existing += other.pre_existing;
        self.moved_in += other.moved_in;
        self.moved_out += other.moved_out;
        self.live.add(&other.live);
        for (&code, &count) in &other.failed {
            *self.failed.entry(code).or_default() += count;
        }
    }

    /// Ports acquired.
    pub(in crate::engine) fn acquired(&self) -> u64 {
        self.flow.known().acquired.saturating_sub(self.folded.acquired)
    }

    pub(in crate::engine) fn released(&self) -> u64 {
        self.flow.known().released.saturating_sub(self.folded.released)
    }

    /// Ports held now.
    pub(in crate::engine) fn held(&self) -> u64 {
        (self.acquired() + self.pre_existing + self.moved_in).saturating_sub(self.released())
    }

    /// TIME_WAITs left behind.
    pub(in crate::engine) fn time_waits(&self) -> u64 {
        self.live.time_wait.try_into().unwrap_or(0)
    }

    /// Whether there is anything to report.
    pub(in crate::engine) fn is_empty(&self) -> bool {
        self.acquired() + self.pre_existing + self.moved_in + self.released() == 0 && self.failed.is_empty()
    }

    pub(in crate::engine) fn report(&self, protocol: Protocol) -> ProtocolReport {
        let count = |live: i32| u64::try_from(live).unwrap_or(0);
        ProtocolReport {
            acquired: self.acquired(),
            released: self.released(),
            moved_out: self.moved_out,
            moved_in: self.moved_in,
            held: self.held(),
            held_bound_only: if protocol == Protocol::Tcp { count(self.live.bound_only) } else { 0 },
            close_wait: count(self.live.close_wait),
            syn_sent: count(self.live.syn_sent),
            time_wait: count(self.live.time_wait),
            failed: self.failed.clone(),
        }
    }
}
