//! Sends that find no port, where no function probe shows them.
//!
//! One hook shows them, after every send of the whole machine: some 50 ns each, a tenth of what a
//! small TCP send costs. So it is attached only while UDP ports are few somewhere: the probes count
//! them and wake us, and from time to time they are counted anew.

use crate::source::linux::bpf::ledger::Ledger;
use crate::source::linux::bpf::probes::{Probes, SENDS};
use portleak_ebpf::{Hold, pool_low_from};
use rustc_hash::FxHashMap;

/// How often, while it is attached, we look whether it still has to be.
const EVERY_NS: u64 = 10_000_000_000;
/// `IPPROTO_UDP`.
const UDP: u8 = 17;

/// Whether the hook is attached, and when that was last weighed.
#[derive(Debug, Default)]
pub struct UdpSendHook {
    attached: bool,
    weighed_ns: u64,
}

impl UdpSendHook {
    /// The probes say so, or it may be so from the start.
    pub fn told(&mut self, now_ns: u64, ledger: &mut Ledger, probes: &mut Probes) {
        if !probes.has(SENDS) {
            return; // It is not needed, or not to be had.
        }
        if recount(ledger) {
            self.attach(now_ns, probes);
        } else {
            ledger.set_crowded(false);
        }
    }

    fn attach(&mut self, now_ns: u64, probes: &mut Probes) {
        self.weighed_ns = now_ns;
        if !self.attached {
            self.attached = probes.watch_sends(true);
        }
    }

    /// Detaches the hook when there is room again, if it is time to look.
    pub fn look(&mut self, now_ns: u64, ledger: &mut Ledger, probes: &mut Probes) {
        if !self.attached || now_ns < self.weighed_ns + EVERY_NS {
            return;
        }
        self.weighed_ns = now_ns;
        if !recount(ledger) {
            probes.watch_sends(false);
            self.attached = false;
            ledger.set_crowded(false);
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
    for hold in holds.filter(|hold| hold.protocol == UDP) {
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
        let holds = [hold(UDP, 7), hold(6, 7), hold(UDP, 8), hold(UDP, 7)];
        let counted = count(holds.iter());
        assert_eq!(counted.len(), 2);
        assert_eq!(counted[&7], Pool { held: 2, usable: 9 });
        assert_eq!(counted[&8], Pool { held: 1, usable: 9 });
    }
}
