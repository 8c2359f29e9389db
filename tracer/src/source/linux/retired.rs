//! Owners that have ended: their place in the ledger is freed once they hold nothing.

use super::ledger::Ledger;
use rustc_hash::FxHashMap;
use tracer_ebpf::{OwnerKey, OwnerTotals};

/// How many may wait; the ledger has room for sixteen times as many owners.
const WAITING_MAX: usize = 1_024;

/// Owners that have ended, and what all owners held before tracing.
#[derive(Debug, Default)]
pub struct Retired {
    waiting: Vec<OwnerKey>,
    adopted: FxHashMap<OwnerKey, u64>,
}

impl Retired {
    /// With what the snapshot found each owner to hold.
    #[must_use]
    pub fn new(adopted: FxHashMap<OwnerKey, u64>) -> Self {
        Self { waiting: Vec::new(), adopted }
    }

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
        let adopted = &mut self.adopted;
        self.waiting.retain(|owner| {
            let Some(totals) = ledger.totals(owner) else {
                return false;
            };
            let held_before = adopted.get(owner).copied().unwrap_or_default();
            let taken = totals.tcp_acquired + totals.udp_acquired + held_before;
            let holds = taken != totals.tcp_released + totals.udp_released;
            if !holds {
                ledger.remove_owner(owner);
                adopted.remove(owner);
                freed.push((*owner, totals));
            }
            holds
        });
        freed
    }
}
