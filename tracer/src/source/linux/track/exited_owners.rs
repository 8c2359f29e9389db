//! Owners that have ended: their place in the ledger is freed once they hold nothing.

use super::resync::emit_totals;
use super::{Context, Tracker};
use crate::event::EventKind;
use crate::source::linux::bpf::ledger::Losses;
use crate::source::linux::bpf::wire::{self, Record};
use portleak_ebpf::{OwnerKey, OwnerTotals, kind, owner_flag};
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

impl Tracker for ExitedOwners {
    fn on_record(&mut self, record: &Record, _: &mut Option<EventKind>, _: &mut Context<'_>) {
        if let Record::Fork(record) = record
            && record.header.kind == kind::EXITED
        {
            self.waiting.insert(record.child);
        }
    }

    /// Emits the end of those whose end was lost.
    fn on_owners(&mut self, owners: &[(OwnerKey, OwnerTotals)], cx: &mut Context<'_>) {
        for (owner, totals) in owners.iter().filter(|(owner, _)| owner.pid != 0) {
            if totals.flags & owner_flag::ENDED != 0 && self.waiting.insert(*owner) {
                cx.emit(EventKind::Exited { id: wire::process(owner) });
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) {
        if cx.now_ns < self.next_ns {
            return;
        }
        self.next_ns = cx.now_ns + EVERY_NS;
        let freed = self.free(cx);
        // Their totals are gone now. A loss that was counted just now may have been of their records.
        let lossy = cx.requests.dropped > 0 || cx.ledger.losses() != Losses::default();
        if !freed.is_empty() && lossy {
            emit_totals(&freed, cx);
        }
        for (owner, _) in &freed {
            cx.names.forget(owner);
            cx.descendants.forget(owner);
        }
    }
}

impl ExitedOwners {
    /// Frees the places of those that hold nothing; returns their last totals.
    fn free(&mut self, cx: &mut Context<'_>) -> Vec<(OwnerKey, OwnerTotals)> {
        let mut freed = Vec::new();
        self.waiting.retain(|owner| {
            let Some(totals) = cx.ledger.totals(owner) else {
                return false;
            };
            let holds = cx.ledger.held_by(owner) != Some(0);
            if !holds {
                cx.ledger.remove_owner(owner);
                freed.push((*owner, totals));
            }
            holds
        });
        freed
    }
}
