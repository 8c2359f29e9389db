//! Transfers of holds from one owner to another.

use super::Engine;
use super::holds::Hold;
use super::owners::Change;
use crate::event::{HoldId, OwnerId};

impl Engine {
    /// A hold belongs to `to` from now on. Its birth is kept, so it does not look young there: for
    /// the detector it leaves the series of one owner and joins those of the other.
    pub(super) fn transfer(&mut self, id: HoldId, to: &OwnerId) {
        let Some(&before) = self.holds.get(&id) else {
            return; // Released already, or out of scope.
        };
        let to = self.enter_owner(to);
        if to == before.owner {
            return;
        }
        let mut after = Hold { owner: to, ..before };
        let protocol = before.pool.protocol;
        self.owners.charge(before.owner, protocol, &Change::move_out(before.state));
        self.owners.charge(to, protocol, &Change::move_in(after.state));
        let program = self.owners.program_of(to);
        self.series.transfer(&before, &mut after, program);
        self.holds.insert(id, after);
    }
}
