//! Releases that arrived before their acquisition: the events of different CPUs are only roughly ordered.

use rustc_hash::FxHashMap;

/// The longest delay of an event behind a later one: sessions flush every second.
const LATE_NS: u64 = 5_000_000_000;
/// A bound: fewer releases arrive within that time.
const RELEASES_MAX: usize = 1 << 16;

/// The releases by unknown holders, and their times.
#[derive(Clone, Debug, Default)]
pub(super) struct ReorderedReleases(FxHashMap<(u64, u16), u64>);

impl ReorderedReleases {
    /// An unknown holder released a port.
    pub(super) fn keep(&mut self, holder: u64, port: u16, at_ns: u64) {
        if self.0.len() >= RELEASES_MAX {
            self.0.retain(|_, &mut kept_ns| kept_ns.saturating_add(LATE_NS) > at_ns);
        }
        if self.0.len() < RELEASES_MAX {
            self.0.insert((holder, port), at_ns);
        }
    }

    /// Whether a port that was acquired at `at_ns` has been released since. Removes the release.
    pub(super) fn take(&mut self, holder: u64, port: u16, at_ns: u64) -> bool {
        self.0
            .remove(&(holder, port))
            .is_some_and(|released_ns| (at_ns..at_ns.saturating_add(LATE_NS)).contains(&released_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_ends_what_was_acquired_before_it() {
        let mut early = ReorderedReleases::default();
        early.keep(1, 50_000, 10);
        assert!(!early.take(1, 50_000, 11), "it was acquired again later");
        early.keep(1, 50_000, 10);
        assert!(!early.take(1, 50_001, 9), "another port");
        assert!(early.take(1, 50_000, 9));
        assert!(!early.take(1, 50_000, 9), "once");
    }

    #[test]
    fn they_are_bounded() {
        let mut early = ReorderedReleases::default();
        for n in 0..3 * RELEASES_MAX as u64 {
            early.keep(n, 50_000, n * 1_000_000);
        }
        assert!(early.0.len() <= RELEASES_MAX);
        let last = 3 * RELEASES_MAX as u64 - 1;
        assert!(early.take(last, 50_000, last * 1_000_000), "the latest are kept");
    }
}
