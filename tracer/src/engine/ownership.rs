//! Transfers of holds from one owner to another.

use super::Engine;
use crate::event::{HoldId, OwnerId};

impl Engine {
    /// A hold belongs to `to` from now on. Its birth is kept, so it does not look young there: for
    /// the detector it leaves the series of one owner and joins those of the other.
    pub(super) fn transfer(&mut self, id: HoldId, to: &OwnerId) {
        let Some(&before) = self.holds.get(&id) else {
            return; // Released already, or out of scope.
        };
        let to = self.owners.enter(to);
        if to == before.owner {
            return;
        }
        let Some(hold) = self.holds.get_mut(&id) else {
            return;
        };
        hold.owner = to;
        let mut after = *hold;
        if let Some(owner) = self.owners.get_mut(before.owner) {
            let counts = owner.counts(before.pool.protocol);
            counts.move_out();
            counts.state(before.state, -1);
        }
        if let Some(owner) = self.owners.get_mut(to) {
            let counts = owner.counts(after.pool.protocol);
            counts.move_in();
            counts.state(after.state, 1);
        }
        let program = self.owners.get(to).and_then(|owner| owner.program);
        self.series.transfer(&before, &mut after, program);
        if let Some(hold) = self.holds.get_mut(&id) {
            hold.series = after.series;
        }
    }
}
