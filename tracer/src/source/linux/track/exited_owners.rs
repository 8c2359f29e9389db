//! Owners that have ended: their place in the ledger is freed once they hold nothing.

use crate::source::linux::bpf::ledger::Ledger;
use portleak_ebpf::{OwnerKey, OwnerTotals};
use rustc_hash::FxHashSet;

/// How often the places are looked through. An owner ends before its ports are released, so the first
/// look may be too early.
const EVERY_NS: u64 = 1_000_000_000;

/// Owners that have ended.
#[derive(Debug, Default)]
pub struct ExitedOwners {
    waiting: FxHashSet<OwnerKey>,
    next_ns: u64,
}

impl ExitedOwners {
    /// An owner ended. False if that is known.
    pub fn ended(&mut self, owner: OwnerKey) -> bool {
        self.waiting.insert(owner)
    }

    /// Frees the places of those that hold nothing; returns their last totals.
    pub fn free(&mut self, now_ns: u64, ledger: &mut Ledger) -> Vec<(OwnerKey, OwnerTotals)> {
        let mut freed = Vec::new();
        if now_ns < self.next_ns {
            return freed;
        }
        self.next_ns = now_ns + EVERY_NS;
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
