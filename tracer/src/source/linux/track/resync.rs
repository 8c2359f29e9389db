//! After a loss: what the ledger holds, so that the engine can mend its own table.

use super::{Context, Tracker};
use crate::event::{Event, EventKind, HoldId, OwnerId, Protocol, Totals};
use crate::source::linux::bpf::wire;
use portleak_ebpf::{OwnerKey, OwnerTotals, flag, owner_flag};

/// Emits every hold and every owner's totals. False if the ledger cannot be read.
pub fn resync(trackers: &mut [Box<dyn Tracker>], cx: &mut Context<'_>) -> bool {
    let (Some(holds), Some(owners)) = (cx.ledger.holds(), cx.ledger.owners()) else {
        return false;
    };
    cx.emit(EventKind::ResyncBegan);
    for (cookie, hold) in holds {
        if hold.flags & flag::DESCENDANT != 0 {
            cx.announce(hold.owner, cx.now_ns);
        }
        if let Ok(mut acquired) = wire::acquired(HoldId(cookie), &hold, 0) {
            trackers.iter_mut().for_each(|tracker| tracker.on_confirmed(&hold, &mut acquired, cx));
            cx.events.push(Event { at_ns: hold.acquired_ns, kind: EventKind::Confirmed(acquired) });
        }
        if let Some(owner) = cx.ledger.moved_to(cookie) {
            cx.emit(EventKind::Moved { hold: HoldId(cookie), owner: wire::owner(&owner) });
        }
    }
    cx.emit(EventKind::ResyncEnded);
    emit_totals(&owners, cx);
    trackers.iter_mut().for_each(|tracker| tracker.on_owners(&owners, cx));
    true
}

/// Emits the totals of some owners, each after its name if that was lost.
pub fn emit_totals(owners: &[(OwnerKey, OwnerTotals)], cx: &mut Context<'_>) {
    for (key, totals) in owners {
        if totals.flags & owner_flag::DESCENDANT != 0 {
            cx.announce(*key, cx.now_ns);
        }
        let was_gone = cx.introduce_or_recall(key, totals);
        let owner = wire::owner(key);
        if cx.by_module && matches!(owner, OwnerId::System { .. }) {
            continue;
        }
        let netns = wire::netns(totals);
        let tcp = Totals { acquired: totals.tcp_acquired, released: totals.tcp_released };
        let udp = Totals { acquired: totals.udp_acquired, released: totals.udp_released };
        for (protocol, totals) in [(Protocol::Tcp, tcp), (Protocol::Udp, udp)] {
            cx.emit(EventKind::Totals { owner: owner.clone(), protocol, totals, netns });
        }
        // The engine did not know it when its end was emitted.
        if was_gone {
            cx.emit(EventKind::Exited { id: wire::process(key) });
        }
    }
}
