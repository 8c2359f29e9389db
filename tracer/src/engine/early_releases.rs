//! Releases that arrived before their acquisition: CPUs are only roughly ordered.

use super::{REORDER_NS, SECOND_NS};
use crate::event::HoldId;
use rustc_hash::FxHashMap;
use std::collections::VecDeque;

/// Releases of holds that are not known, for a second.
#[derive(Debug)]
pub(super) struct EarlyReleases {
    by_hold: FxHashMap<HoldId, u64>,
    /// In order of arrival.
    order: VecDeque<(u64, HoldId)>,
    max: usize,
}

impl EarlyReleases {
    /// A table of at most `max`; the oldest goes first.
    pub(super) fn new(max: usize) -> Self {
        Self { by_hold: FxHashMap::default(), order: VecDeque::new(), max }
    }

    pub(super) fn insert(&mut self, hold: HoldId, at_ns: u64) {
        self.by_hold.insert(hold, at_ns);
        self.order.push_back((at_ns, hold));
        if self.order.len() > self.max {
            self.drop_oldest();
        }
    }

    /// When a hold that was acquired at `at_ns` was released, if that has arrived already.
    pub(super) fn take(&mut self, hold: HoldId, at_ns: u64) -> Option<u64> {
        if self.by_hold.is_empty() {
            return None;
        }
        self.by_hold.remove(&hold).filter(|ended_ns| (at_ns..=at_ns + REORDER_NS).contains(ended_ns))
    }

    /// Drops those that are older than a second.
    pub(super) fn purge(&mut self, now_ns: u64) {
        while self.order.front().is_some_and(|&(at_ns, _)| at_ns + SECOND_NS <= now_ns) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some((at_ns, hold)) = self.order.pop_front()
            && self.by_hold.get(&hold) == Some(&at_ns)
        {
            self.by_hold.remove(&hold);
        }
    }
}
