//! Owners that have ended: their place in the ledger is freed once they hold nothing.

use crate::source::linux::bpf::ledger::Ledger;
use portleak_ebpf::{OwnerKey, OwnerTotals};

/// How many may wait; the ledger has room for sixteen times as many owners.
const WAITING_MAX: usize = 1_024;

/// Owners that have ended.
#[derive(Debug, Default)]
pub struct ExitedOwners {
    waiting: Vec<OwnerKey>,
}

impl ExitedOwners {
    /// An owner ended.
    pub fn ended(&mut self, owner: OwnerKey) {
        self.waiting.push(owner);
    }

    /// When many wait: frees the places of those that hold nothing, and gives their last totals.
    pub fn free(&mut self, ledger: &mut Ledger) -> Vec<(OwnerKey, OwnerTotals)> {
        let mut freed = Vec::new();
        if self.waiting.len() < WAITING_MAX {
            return freed;
        }
        self.waiting.retain(|owner| {
            let Some(totals) = ledger.totals(owner) else {
                return false;
            };
            let holds = ledger.held_by(owner) != Some(0);
            if !holds {
                ledger.remove_owner(owner);
                freed.push((*owner, totals));
            }
            holds
        });
        freed
    }
}
