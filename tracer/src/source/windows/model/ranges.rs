//! The pools: which ports Windows hands out of itself, as far as is known.

use super::pool;
use super::ports::Out;
use crate::event::{EventKind, PoolId, PortRange, Protocol};
use crate::source::windows::etl::Header;
use std::collections::{BTreeMap, BTreeSet};

/// The dynamic ports of every Windows since Vista, unless they were changed (`netsh int ipv4 show
/// dynamicport`).
pub const DEFAULT_RANGE: PortRange = PortRange { low: 49_152, high: 65_535, reserved: 0 };
/// The first build that says of which transport reserved ports are (1519): Windows 11.
const TRANSPORT_BUILD: u32 = 22_000;
/// More reservations than a machine has.
const RESERVATIONS_MAX: usize = 4_096;

/// The pools' ranges.
#[derive(Clone, Debug)]
pub(super) struct Ranges {
    known: BTreeMap<PoolId, PortRange>,
    /// What was reserved since they were asked for: pool, first port, how many.
    reserved: BTreeSet<(PoolId, u16, u16)>,
    /// 1519 says which transport; what 1054 says is the same.
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

    /// They are these now. Says what has changed.
    pub(super) fn set(&mut self, ranges: &BTreeMap<PoolId, PortRange>, out: &mut Out<'_>) {
        self.reserved.clear();
        for (&pool, &range) in ranges {
            if self.known.insert(pool, range) != Some(range) {
                out.push(EventKind::Pool { pool, range });
            }
        }
    }

    /// Whether a port is of the pool. One that Windows has chosen is, and the pool as large as that.
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

    /// 1054, 1519: ports of the pool are kept for someone, and not handed out. That of 1054 is TCP, as
    /// its name says.
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
