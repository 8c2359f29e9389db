//! Ports that Windows excludes from the pools, for administrators and services.

use crate::event::PortRange;

/// A range of excluded ports, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Exclusion {
    /// The lowest port.
    pub low: u16,
    /// The highest port.
    pub high: u16,
    /// Whether an administrator added it. The others belong to services (Hyper-V, WinNAT) and end with them.
    pub administered: bool,
}

/// How many ports of `low` to `high` are excluded. Exclusions may overlap.
#[must_use]
pub fn excluded_ports(low: u16, high: u16, exclusions: &[Exclusion]) -> u32 {
    let mut sorted = exclusions.to_vec();
    sorted.sort_unstable();
    // The first port that is not counted yet.
    let mut next = u32::from(low);
    let mut count = 0;
    for exclusion in sorted {
        let start = next.max(exclusion.low.into());
        let end = (u32::from(exclusion.high) + 1).min(u32::from(high) + 1);
        count += end.saturating_sub(start);
        next = next.max(end);
    }
    count
}

/// The pool from `low` to `high` with these exclusions.
#[must_use]
pub fn pool_range(low: u16, high: u16, exclusions: &[Exclusion]) -> PortRange {
    PortRange { low, high, reserved: excluded_ports(low, high, exclusions) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reserved(exclusions: &[(u16, u16)]) -> u32 {
        let exclusion = |&(low, high): &(u16, u16)| Exclusion { low, high, administered: false };
        let exclusions: Vec<_> = exclusions.iter().map(exclusion).collect();
        pool_range(50_000, 65_535, &exclusions).reserved
    }

    #[test]
    fn only_what_lies_in_the_range_counts_and_once() {
        assert_eq!(reserved(&[]), 0);
        assert_eq!(reserved(&[(80, 80), (5_357, 5_357)]), 0);
        assert_eq!(reserved(&[(50_000, 50_059)]), 60);
        assert_eq!(reserved(&[(49_900, 50_009)]), 10, "over the lower end");
        assert_eq!(reserved(&[(65_530, 65_535)]), 6);
        assert_eq!(reserved(&[(50_100, 50_199), (50_150, 50_249), (50_100, 50_120)]), 150);
        assert_eq!(reserved(&[(60_000, 60_099), (50_000, 50_099)]), 200, "in any order");
        assert_eq!(reserved(&[(1, 65_535)]), 15_536);
    }
}
