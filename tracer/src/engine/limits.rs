//! Hard limits of the engine's tables.

/// How much the engine keeps. What is beyond a limit goes into a remainder or is evicted, least
/// recently used first, and is counted in the summary (`folded`, `evicted`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Owners that are kept each by itself; further ones are folded into remainders.
    pub owners: usize,
    /// Of those, owners that have ended without a verdict.
    pub ended: usize,
    /// Programs: the owners of series that span processes.
    pub programs: usize,
    /// Remainders of single programs; further ones are folded into the one of all.
    pub remainders: usize,
    /// Folded owners without holds whose counters are remembered, so that totals that the kernel
    /// reports after the fold are not added twice. More than the ledger of a source has owners.
    pub folded_ended: usize,
    /// Folded owners that still hold something, or that have not ended.
    pub folded_live: usize,
    /// Live holds; a hold beyond is counted as acquired and not followed.
    pub holds: usize,
    /// TIME_WAITs.
    pub time_waits: usize,
    /// Releases that wait for their acquisition.
    pub early_releases: usize,
    /// Pools; only unused ones are evicted.
    pub pools: usize,
    /// Series of the detector.
    pub series: usize,
    /// Call sites whose frames are kept.
    pub sites: usize,
    /// Processes of the traced command's tree.
    pub tree: usize,
    /// Owners whose past levels are kept, up to 20 KiB each.
    pub history_owners: usize,
    /// Pools whose past levels are kept.
    pub history_pools: usize,
    /// Destinations whose past levels are kept.
    pub history_destinations: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            owners: 32_768,
            ended: 8_192,
            programs: 4_096,
            remainders: 512,
            folded_ended: 32_768,
            folded_live: 131_072,
            holds: 1_048_576,
            time_waits: 1_048_576,
            early_releases: 65_536,
            pools: 1_024,
            series: 32_768,
            sites: 8_192,
            tree: 65_536,
            history_owners: 256,
            history_pools: 32,
            history_destinations: 128,
        }
    }
}
