//! The pools: the ports that Windows hands out, as far as they are known.

use super::pool;
use super::ports::Out;
use crate::event::{EventKind, PoolId, PortRange, Protocol};
use crate::source::windows::etl::Header;
use std::collections::{BTreeMap, BTreeSet};

/// The dynamic ports since Windows Vista, unless they were changed (`netsh int ipv4 show dynamicport`).
pub const DEFAULT_RANGE: PortRange = PortRange { low: 49_152, high: 65_535, reserved: 0 };
/// The first build that reports the transport of reserved ports (1519): Windows 11.
const TRANSPORT_BUILD: u32 = 22_000;
/// A bound: no machine has as many reservations.
const RESERVATIONS_MAX: usize = 4_096;

/// The pools' ranges.
#[derive(Clone, Debug)]
pub(super) struct Ranges {
    known: BTreeMap<PoolId, PortRange>,
    /// Reservations since the ranges were read: pool, first port, count.
    reserved: BTreeSet<(PoolId, u16, u16)>,
    /// 1519 reports the transport; 1054 then only repeats it.
    has_transport: bool,
}

impl Ranges {
    pub(super) fn new(header: &Header, known: &BTreeMap<PoolId, PortRange>) -> Self {
        let has_transport = header.build >= TRANSPORT_BUILD;
        Self { known: known.clone(), reserved: BTreeSet::new(), has_transport }
    }

    pub(super) fn get(&self, pool: PoolId) -> Option<PortRange> {
        self.known.get(&pool).copied()
    }

    /// Sets the ranges. Emits each change.
    pub(super) fn set(&mut self, ranges: &BTreeMap<PoolId, PortRange>, out: &mut Out<'_>) {
        self.reserved.clear();
        for (&pool, &range) in ranges {
            if self.known.insert(pool, range) != Some(range) {
                out.push(EventKind::Pool { pool, range });
            }
        }
    }

    /// Whether a port lies in the pool. A port that Windows chose does, and widens the pool if needed.
    pub(super) fn contains(
        &mut self,
        protocol: Protocol,
        port: u16,
        chosen: bool,
        out: &mut Out<'_>,
    ) -> bool {
        let pool = pool(protocol);
        let range = self.known.entry(pool).or_insert(DEFAULT_RANGE);
        if (range.low..=range.high).contains(&port) {
            return true;
        }
        if chosen {
            (range.low, range.high) = (range.low.min(port), range.high.max(port));
            let range = *range;
            out.push(EventKind::Pool { pool, range });
        }
        chosen
    }

    /// 1054, 1519: ports of the pool are reserved, and not handed out. 1054 is about TCP, as its name says.
    pub(super) fn reserve(&mut self, transport: Option<u32>, start: u16, count: u16, out: &mut Out<'_>) {
        let protocol = match transport {
            None if self.has_transport => return,
            None | Some(6) => Protocol::Tcp,
            Some(17) => Protocol::Udp,
            Some(_) => return,
        };
        let pool = pool(protocol);
        if self.reserved.len() >= RESERVATIONS_MAX || !self.reserved.insert((pool, start, count)) {
            return;
        }
        let range = self.known.entry(pool).or_insert(DEFAULT_RANGE);
        let end = u32::from(start) + u32::from(count);
        let inside = end.min(u32::from(range.high) + 1).saturating_sub(start.max(range.low).into());
        if inside > 0 {
            range.reserved += inside;
            let range = *range;
            out.push(EventKind::Pool { pool, range });
        }
    }
}
