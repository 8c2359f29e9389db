//! The pools' settings, which an administrator may change at any time.
//!
//! The range comes with every port that is taken; the reserved ports do not, and where nobody
//! takes a port nothing tells of either. So both are read again from time to time. An open
//! namespace stays alive, and its TIME_WAITs with it: what is kept is only the way to each.

use crate::event::{Event, EventKind, NetNs, PoolId, PortRange, Protocol};
use crate::source::linux::kernel::netns::{self, Namespace};
use portleak_ebpf::Hold;
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// How often they are read.
const EVERY_NS: u64 = 10_000_000_000;

/// The settings of every namespace that matters.
#[derive(Debug)]
pub struct PortRanges {
    known: FxHashMap<NetNs, Known>,
    read_ns: u64,
}

/// One namespace.
#[derive(Debug, Default)]
struct Known {
    /// What was read last; `None` where nothing could be.
    range: Option<PortRange>,
    /// Whether a hold has told another range since: that of before a change, or of after it.
    contradicted: bool,
    /// How it was entered the last time: as a rule through a process inside.
    way: Option<PathBuf>,
}

impl PortRanges {
    /// With what the snapshot found at `now_ns`.
    #[must_use]
    pub fn new(pools: &BTreeMap<PoolId, PortRange>, now_ns: u64) -> Self {
        let known = |(pool, range): (&PoolId, &PortRange)| {
            (pool.netns, Known { range: Some(*range), ..Known::default() })
        };
        Self { known: pools.iter().map(known).collect(), read_ns: now_ns }
    }

    /// How many ports the namespace of a hold keeps out of its pool. One that has just come up is
    /// read at once; the owner inside shows the way.
    pub fn reserved(&mut self, hold: &Hold) -> u32 {
        let (netns, pid) = (NetNs(hold.netns), hold.owner.pid);
        let known = self.known.entry(netns).or_insert_with(|| {
            let way = netns::of_process(pid);
            match read(netns, &way) {
                Some(range) => Known { range: Some(range), way: Some(way), contradicted: false },
                None => look_for(netns),
            }
        });
        let contradicts = |range: PortRange| (range.low, range.high) != (hold.range_low, hold.range_high);
        if known.range.is_some_and(contradicts) && !known.contradicted {
            // Changed, or another namespace by now: their numbers are used again.
            known.contradicted = true;
            known.range = read(netns, &netns::of_process(pid)).or(known.range);
        }
        known.range.map_or(0, |range| range.reserved)
    }

    /// Reads them again, if it is time to, and tells what has changed.
    pub fn look(&mut self, now_ns: u64, events: &mut Vec<Event>) {
        if now_ns >= self.read_ns + EVERY_NS {
            self.read(now_ns, events);
        }
    }

    /// Reads them again and tells what has changed.
    pub fn read(&mut self, now_ns: u64, events: &mut Vec<Event>) {
        self.read_ns = now_ns;
        let mut lost = Vec::new();
        for (&netns, known) in &mut self.known {
            match known.way.as_ref().and_then(|way| read(netns, way)) {
                Some(range) => known.update(netns, range, now_ns, events),
                None => lost.push(netns),
            }
        }
        if !lost.is_empty() {
            self.find(&lost, now_ns, events);
        }
    }

    /// Looks for another way to some namespaces. To one that has ended, or that only sockets keep
    /// alive, there is none: it is known again as soon as somebody takes a port there.
    fn find(&mut self, lost: &[NetNs], now_ns: u64, events: &mut Vec<Event>) {
        let ways = netns::ways();
        for netns in lost {
            let found = ways.get(netns).and_then(|way| Some((way, read(*netns, way)?)));
            let Some((way, range)) = found else {
                self.known.remove(netns);
                continue;
            };
            if let Some(known) = self.known.get_mut(netns) {
                known.way = Some(way.clone());
                known.update(*netns, range, now_ns, events);
            }
        }
    }
}

impl Known {
    fn update(&mut self, netns: NetNs, range: PortRange, at_ns: u64, events: &mut Vec<Event>) {
        let same = self.range.replace(range) == Some(range);
        if !std::mem::take(&mut self.contradicted) && same {
            return;
        }
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let pool = PoolId { netns, protocol };
            events.push(Event { at_ns, kind: EventKind::Pool { pool, range } });
        }
    }
}

/// The settings of the namespace behind a path, if that is still the one.
fn read(netns: NetNs, way: &Path) -> Option<PortRange> {
    let namespace = Namespace::open(way).ok().filter(|namespace| namespace.id == netns)?;
    netns::within(&namespace, netns::port_range).ok()?.ok()
}

/// A namespace to which nobody has shown the way.
fn look_for(netns: NetNs) -> Known {
    let way = netns::ways().remove(&netns);
    Known { range: way.as_ref().and_then(|way| read(netns, way)), way, contradicted: false }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::linux::filter_targets;
    use portleak_ebpf::OwnerKey;

    fn pools(netns: NetNs, range: PortRange) -> BTreeMap<PoolId, PortRange> {
        BTreeMap::from([(PoolId { netns, protocol: Protocol::Tcp }, range)])
    }

    fn hold(netns: NetNs, pid: u32) -> Hold {
        let owner = OwnerKey { pid, ..OwnerKey::default() };
        Hold { netns: netns.0, owner, range_low: 5, range_high: 6, ..Hold::default() }
    }

    #[test]
    fn a_hold_that_contradicts_makes_it_be_read_at_once() {
        let own = filter_targets::own_netns().unwrap();
        let now = netns::port_range().unwrap();
        let before = PortRange { low: 1, high: 2, reserved: now.reserved + 9 };
        let mut settings = PortRanges::new(&pools(own, before), 0);
        assert_eq!(settings.reserved(&hold(own, std::process::id())), now.reserved);
        let mut events = Vec::new();
        settings.read(1, &mut events);
        assert_eq!(events.len(), 2, "told for both protocols");
    }

    #[test]
    fn a_record_of_before_the_change_is_corrected() {
        let own = filter_targets::own_netns().unwrap();
        let now = netns::port_range().unwrap();
        let mut settings = PortRanges::new(&pools(own, now), 0);
        settings.reserved(&hold(own, std::process::id()));
        let mut events = Vec::new();
        settings.read(1, &mut events);
        assert!(
            matches!(&events[..], [Event { kind: EventKind::Pool { range, .. }, .. }, _] if *range == now)
        );
    }

    #[test]
    fn a_change_is_told_once_and_when_it_is_time() {
        let own = filter_targets::own_netns().unwrap();
        let now = netns::port_range().unwrap();
        let before = PortRange { low: 1, high: 2, reserved: 0 };
        let mut settings = PortRanges::new(&pools(own, before), 1_000);
        let mut told = |now_ns| {
            let mut events = Vec::new();
            settings.look(now_ns, &mut events);
            events
        };
        assert_eq!(told(1_000 + EVERY_NS - 1), []);
        let at_ns = 1_000 + EVERY_NS;
        let changed = [Protocol::Tcp, Protocol::Udp].map(|protocol| {
            let pool = PoolId { netns: own, protocol };
            Event { at_ns, kind: EventKind::Pool { pool, range: now } }
        });
        assert_eq!(told(at_ns), changed);
        assert_eq!(told(at_ns + EVERY_NS), []);
    }

    #[test]
    fn a_namespace_that_has_ended_is_forgotten() {
        let gone = NetNs(1);
        let mut settings = PortRanges::new(&pools(gone, PortRange { low: 1, high: 2, reserved: 9 }), 0);
        assert_eq!(settings.reserved(&hold(gone, 0)), 9);
        let mut events = Vec::new();
        settings.read(1, &mut events);
        assert!(events.is_empty() && settings.known.is_empty());
    }

    #[test]
    fn a_namespace_that_comes_up_is_read_with_or_without_a_guide() {
        let own = filter_targets::own_netns().unwrap();
        let reserved = netns::port_range().unwrap().reserved;
        for pid in [std::process::id(), u32::MAX] {
            let mut settings = PortRanges::new(&BTreeMap::new(), 0);
            assert_eq!(settings.reserved(&hold(own, pid)), reserved);
            assert!(settings.known[&own].way.is_some(), "{pid}");
        }
    }
}
