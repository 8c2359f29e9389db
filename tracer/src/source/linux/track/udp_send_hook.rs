//! Sends that find no port, where no function probe shows them.
//!
//! One hook shows them, after every send of the whole machine: some 50 ns each, a tenth of what a
//! small TCP send costs. So it is attached only while few UDP ports are left somewhere: the probes
//! count them and wake us, and from time to time they are counted again.

use super::{Context, Tracker};
use crate::event::EventKind;
use crate::source::linux::bpf::ledger::Ledger;
use crate::source::linux::bpf::probes::SENDS;
use crate::source::linux::bpf::wire::Record;
use portleak_ebpf::{Hold, kind, pool_low_from, protocol};
use rustc_hash::FxHashMap;

/// How often, while the hook is attached, the ports are counted again.
const EVERY_NS: u64 = 10_000_000_000;

/// Whether the hook is attached, and when the ports were last counted.
#[derive(Debug, Default)]
pub struct UdpSendHook {
    attached: bool,
    /// `None` before the first poll: a pool may be low from the start.
    counted_ns: Option<u64>,
}

impl Tracker for UdpSendHook {
    fn on_record(&mut self, record: &Record, _: &mut Option<EventKind>, cx: &mut Context<'_>) {
        if let Record::Short(header) = record
            && header.kind == kind::POOL_LOW
        {
            self.attach_if_low(header.at_ns, cx);
        }
    }

    /// Detaches the hook when enough ports are free again.
    fn poll(&mut self, cx: &mut Context<'_>) {
        match self.counted_ns {
            None => self.attach_if_low(cx.now_ns, cx),
            Some(counted_ns) if self.attached && cx.now_ns >= counted_ns + EVERY_NS => {
                self.counted_ns = Some(cx.now_ns);
                if !recount(cx.ledger) {
                    cx.system.watch_sends(false);
                    self.attached = false;
                    cx.ledger.set_crowded(false);
                }
            }
            Some(_) => {}
        }
    }
}

impl UdpSendHook {
    fn attach_if_low(&mut self, now_ns: u64, cx: &mut Context<'_>) {
        self.counted_ns = Some(now_ns);
        if !cx.system.has_hook(SENDS) {
            return; // It is not needed, or the kernel refuses it.
        }
        if recount(cx.ledger) {
            self.attached = self.attached || cx.system.watch_sends(true);
        } else {
            cx.ledger.set_crowded(false);
        }
    }
}

/// Counts the UDP ports held in each namespace; says whether few are left in any.
fn recount(ledger: &mut Ledger) -> bool {
    let Some(holds) = ledger.holds() else {
        return true;
    };
    let held = count(holds.iter().map(|(_, hold)| hold));
    for netns in ledger.udp_counted() {
        ledger.set_udp_held(netns, held.get(&netns).map(|pool| pool.held));
    }
    held.values().any(|pool| pool.held >= pool_low_from(pool.usable))
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Pool {
    held: u64,
    usable: u64,
}

fn count<'a>(holds: impl Iterator<Item = &'a Hold>) -> FxHashMap<u32, Pool> {
    let mut pools: FxHashMap<u32, Pool> = FxHashMap::default();
    for hold in holds.filter(|hold| hold.protocol == protocol::UDP) {
        let pool = pools.entry(hold.netns).or_default();
        pool.held += 1;
        // Of the latest that is seen: a range may have been changed.
        pool.usable = (u64::from(hold.range_high) + 1).saturating_sub(hold.range_low.into());
    }
    pools
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_are_left() {
        for (usable, from) in [(28_232, 20_040), (16_384, 8_192), (1_000, 500), (4, 2), (1, 1), (0, 0)] {
            assert_eq!(pool_low_from(usable), from, "of {usable}");
        }
    }

    #[test]
    fn udp_is_counted_by_namespace() {
        let hold = |protocol, netns| Hold { protocol, netns, range_low: 1, range_high: 9, ..Hold::default() };
        let holds = [hold(protocol::UDP, 7), hold(6, 7), hold(protocol::UDP, 8), hold(protocol::UDP, 7)];
        let counted = count(holds.iter());
        assert_eq!(counted.len(), 2);
        assert_eq!(counted[&7], Pool { held: 2, usable: 9 });
        assert_eq!(counted[&8], Pool { held: 1, usable: 9 });
    }
}
