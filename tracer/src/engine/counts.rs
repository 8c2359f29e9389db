//! What is counted for one owner and protocol.

use super::report::ProtocolReport;
use crate::event::{FailureCode, Protocol, SocketState, Totals};
use std::collections::BTreeMap;

/// Counters of one owner and protocol.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    /// Acquisitions seen.
    acquired: u64,
    /// Releases seen.
    released: u64,
    /// Held before tracing began.
    pre_existing: u64,
    /// Came from another owner.
    moved_in: u64,
    /// Went to another owner; among `released`.
    moved_out: u64,
    /// The kernel's own word, once it was given.
    totals: Totals,
    bound_only: u64,
    close_wait: u64,
    syn_sent: u64,
    time_wait: u64,
    failed: BTreeMap<FailureCode, u64>,
}

impl Counts {
    pub(super) fn acquire(&mut self, pre_existing: bool) {
        *if pre_existing { &mut self.pre_existing } else { &mut self.acquired } += 1;
    }

    pub(super) fn release(&mut self) {
        self.released += 1;
    }

    /// A port came from another owner: like one that was held before.
    pub(super) fn move_in(&mut self) {
        self.moved_in += 1;
    }

    /// A port went to another owner: like one that was released.
    pub(super) fn move_out(&mut self) {
        self.moved_out += 1;
        self.released += 1;
    }

    /// An acquisition turned out not to have happened.
    pub(super) fn retract(&mut self) {
        self.acquired = self.acquired.saturating_sub(1);
    }

    pub(super) fn fail(&mut self, code: FailureCode) {
        *self.failed.entry(code).or_default() += 1;
    }

    pub(super) fn set_totals(&mut self, totals: Totals) {
        self.totals = totals;
    }

    /// A hold entered a state (`1`) or left it (`-1`).
    pub(super) fn state(&mut self, state: SocketState, change: i64) {
        let count = match state {
            SocketState::Bound => &mut self.bound_only,
            SocketState::CloseWait => &mut self.close_wait,
            SocketState::SynSent => &mut self.syn_sent,
            SocketState::Listen | SocketState::Connected | SocketState::Closing => return,
        };
        *count = count.saturating_add_signed(change);
    }

    pub(super) fn time_wait(&mut self, change: i64) {
        self.time_wait = self.time_wait.saturating_add_signed(change);
    }

    pub(super) fn time_waits(&self) -> u64 {
        self.time_wait
    }

    /// Ports acquired. What the kernel counted is right even when events were lost; events may be
    /// ahead of what it last said.
    pub(super) fn acquired(&self) -> u64 {
        self.acquired.max(self.totals.acquired)
    }

    fn released(&self) -> u64 {
        self.released.max(self.totals.released)
    }

    /// Ports held now.
    pub(super) fn held(&self) -> u64 {
        (self.acquired() + self.pre_existing + self.moved_in).saturating_sub(self.released())
    }

    /// Whether there is anything to report.
    pub(super) fn is_empty(&self) -> bool {
        self.acquired() + self.pre_existing + self.moved_in + self.released() == 0 && self.failed.is_empty()
    }

    pub(super) fn report(&self, protocol: Protocol) -> ProtocolReport {
        ProtocolReport {
            acquired: self.acquired(),
            released: self.released(),
            moved_out: self.moved_out,
            moved_in: self.moved_in,
            held: self.held(),
            held_bound_only: if protocol == Protocol::Tcp { self.bound_only } else { 0 },
            close_wait: self.close_wait,
            syn_sent: self.syn_sent,
            time_wait: self.time_wait,
            failed: self.failed.clone(),
        }
    }
}
