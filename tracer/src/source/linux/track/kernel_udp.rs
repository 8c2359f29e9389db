//! UDP ports of the kernel's own sockets (tunnels and the like).
//!
//! Their acquisition is seen, their release only by a function probe: no descriptor is closed, and
//! no tracepoint tells of it. There are few of them, so they are looked up from time to time.

use crate::event::{Event, EventKind, HoldId, NetNs, Protocol};
use crate::source::linux::bpf::ledger::Ledger;
use crate::source::linux::kernel::netns;
use crate::source::linux::track::pending_ports;
use portleak_ebpf::{HoldRecord, kind};
use rustc_hash::{FxHashMap, FxHashSet};

/// How often they are looked up.
const EVERY_NS: u64 = 5_000_000_000;

/// Those that are held, by namespace.
#[derive(Debug, Default)]
pub struct KernelUdp {
    /// Whether they have to be looked up, for want of a function probe.
    wanted: bool,
    held: FxHashMap<NetNs, FxHashSet<u64>>,
    looked_ns: u64,
}

impl KernelUdp {
    /// To be looked up, or not.
    #[must_use]
    pub fn new(wanted: bool) -> Self {
        Self { wanted, ..Self::default() }
    }

    /// Takes note of a hold, if it is one of these.
    pub fn notice(&mut self, record: &HoldRecord) {
        let hold = &record.hold;
        if self.wanted
            && record.header.kind == kind::ACQUIRED
            && hold.protocol == 17
            && hold.owner.system_netns != 0
        {
            self.held.entry(NetNs(hold.netns)).or_default().insert(record.header.cookie);
        }
    }

    /// Tells which have gone, if it is time to look.
    pub fn look(&mut self, now_ns: u64, ledger: &mut Ledger, events: &mut Vec<Event>) {
        if self.held.is_empty() || now_ns < self.looked_ns + EVERY_NS {
            return;
        }
        self.looked_ns = now_ns;
        self.held.retain(|&netns, cookies| {
            // A namespace that is not found has ended, and its sockets with it.
            let live = netns::find(netns, std::iter::empty()).map_or_else(
                || Some(FxHashMap::default()),
                |namespace| pending_ports::ports(&namespace, Protocol::Udp),
            );
            let Some(live) = live else {
                return true;
            };
            cookies.retain(|cookie| live.contains_key(cookie) || !gone(*cookie, now_ns, ledger, events));
            !cookies.is_empty()
        });
    }
}

/// Takes one out that is not listed any more. Always true.
fn gone(cookie: u64, now_ns: u64, ledger: &mut Ledger, events: &mut Vec<Event>) -> bool {
    if let Some(hold) = ledger.hold(cookie)
        && ledger.release(cookie, &hold)
    {
        events.push(Event { at_ns: now_ns, kind: EventKind::Released { hold: HoldId(cookie) } });
    }
    true
}
