//! Holds that went to another owner than the one that acquired them.
//!
//! The probes' own entry keeps its maker: user space could only replace it as a whole, and would
//! undo what a probe changes in it meanwhile. So the new owner is kept here, and the totals, which
//! the probes keep by maker, are corrected: a move counts as a release for the one and as taken
//! over for the other, and the release at the end is taken from the maker and given to the last.

use super::{Ledger, released};
use portleak_ebpf::{Hold, OwnerKey};
use rustc_hash::FxHashSet;

/// One hold that moved.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moved {
    maker: OwnerKey,
    pub(super) to: OwnerKey,
    protocol: u8,
}

impl Ledger {
    /// Whose a hold is now.
    #[must_use]
    pub fn owner_of(&self, cookie: u64, hold: &Hold) -> OwnerKey {
        self.moved_to(cookie).unwrap_or(hold.owner)
    }

    /// Whose a hold is now, if it has moved.
    #[must_use]
    pub fn moved_to(&self, cookie: u64) -> Option<OwnerKey> {
        self.moved.get(&cookie).map(|moved| moved.to)
    }

    /// Gives a hold to another owner. True if that owner had no place before.
    pub fn move_to(&mut self, cookie: u64, hold: &Hold, to: OwnerKey) -> bool {
        let from = self.owner_of(cookie, hold);
        self.moved.insert(cookie, Moved { maker: hold.owner, to, protocol: hold.protocol });
        self.correct_released(from, hold.protocol, 1);
        *self.taken_over.entry(to).or_default() += 1;
        self.enter_owner(&to, hold.netns)
    }

    /// The probes released a hold, and credited its maker.
    pub fn settle_move(&mut self, cookie: u64) {
        let Some(moved) = self.moved.remove(&cookie) else {
            return;
        };
        self.correct_released(moved.to, moved.protocol, 1);
        // A maker that has lost its place was not credited.
        if self.corrections.contains_key(&moved.maker) {
            self.correct_released(moved.maker, moved.protocol, u64::MAX);
        }
    }

    /// Settles the moves of all holds but `held`: the record of their release was lost.
    pub(super) fn settle_all_but(&mut self, held: &FxHashSet<u64>) {
        let gone: Vec<u64> = self.moved.keys().filter(|cookie| !held.contains(cookie)).copied().collect();
        gone.into_iter().for_each(|cookie| self.settle_move(cookie));
    }

    fn correct_released(&mut self, owner: OwnerKey, protocol: u8, change: u64) {
        let field = released(self.corrections.entry(owner).or_default(), protocol);
        *field = field.wrapping_add(change);
    }
}
