//! The pools: how full they are, and the busiest destinations.

use crate::engine::report::{DestinationReport, PoolReport};
use crate::event::{NetNs, PoolId, PortRange};
use crate::sink::numbers::{count, counted, percent, share};

const POOLS_MAX: usize = 4;
const DESTINATIONS_MAX: usize = 3;
/// A peak below this share of an empty pool is not worth a line.
const PEAK_SHARE_MIN: f64 = 0.01;

/// After a trace.
pub(super) fn text(pools: &[PoolReport]) -> String {
    lines(pools, |pool| format!(", peak {}", count(pool.peak)))
}

/// Of a snapshot, which has no peak.
pub(super) fn now(pools: &[PoolReport]) -> String {
    lines(pools, |_| String::new())
}

fn lines(pools: &[PoolReport], peak: impl Fn(&PoolReport) -> String) -> String {
    let mut used: Vec<&PoolReport> = pools.iter().filter(|pool| is_worth_a_line(pool)).collect();
    used.sort_by_key(|pool| std::cmp::Reverse(pool.used + pool.time_wait));
    let several = several(used.iter().map(|pool| pool.id));
    let mut text = String::new();
    for pool in used.iter().take(POOLS_MAX) {
        text += &usage(pool, several, &peak(pool));
        let busiest = pool.destinations.iter().filter(|d| d.used > 0);
        for destination in busiest.take(DESTINATIONS_MAX) {
            text += &headroom(destination);
        }
    }
    if used.len() > POOLS_MAX {
        let more = (used.len() - POOLS_MAX) as u64;
        text += &format!("… and {}\n", counted(more, "more pool"));
    }
    text
}

/// Leaves out namespaces that used a port or two for a moment.
fn is_worth_a_line(pool: &PoolReport) -> bool {
    let usable = pool.range.map_or(0, |range| u64::from(range.usable()));
    pool.used > 0 || pool.time_wait > 0 || share(pool.peak, usable) >= PEAK_SHARE_MIN
}

/// `tcp 32768-60999: 28,232 ports`; the namespace is named when there are `several`.
pub(in crate::sink) fn pool_line(id: PoolId, range: &PortRange, several: bool) -> String {
    let reserved = match range.reserved {
        0 => String::new(),
        n => format!(", {} reserved", count(u64::from(n))),
    };
    let usable = counted(u64::from(range.usable()), "port");
    format!("{}: {usable}{reserved}", name(id, Some(range), several))
}

/// Whether the pools are of more than one namespace.
pub(in crate::sink) fn several(mut ids: impl Iterator<Item = PoolId>) -> bool {
    let first = ids.next();
    ids.any(|id| Some(id.netns) != first.map(|first| first.netns))
}

fn name(id: PoolId, range: Option<&PortRange>, several: bool) -> String {
    let range =
        range.map_or_else(|| "(range unknown)".to_owned(), |range| format!("{}-{}", range.low, range.high));
    match id.netns {
        NetNs(netns) if several => format!("{} {range} netns {netns}", id.protocol),
        _ => format!("{} {range}", id.protocol),
    }
}

fn usage(pool: &PoolReport, several: bool, peak: &str) -> String {
    let name = name(pool.id, pool.range.as_ref(), several);
    let used = match &pool.range {
        Some(range) => {
            let usable = u64::from(range.usable());
            let part = percent(share(pool.used, usable));
            format!("{} of {} ports held ({part})", count(pool.used), count(usable))
        }
        None => format!("{} held", counted(pool.used, "port")),
    };
    format!("{name}: {used}{peak}, {} in TIME_WAIT\n", count(pool.time_wait))
}

fn headroom(destination: &DestinationReport) -> String {
    let left = match destination.usable.saturating_sub(destination.used) {
        0 => "none left".to_owned(),
        left => format!("{} left", count(left)),
    };
    format!(
        "  to {}: {} of {} used, {left}\n",
        destination.remote,
        count(destination.used),
        count(destination.usable)
    )
}
