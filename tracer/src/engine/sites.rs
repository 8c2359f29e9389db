//! How many holds of a series each call site has: which line of code it is that does not let go.

use super::detector::Second;
use super::report::SiteShare;
use crate::event::{Frame, SiteId};
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::Arc;

/// Call sites told apart in one series; the holds of others count as of none.
const SITES_MAX: usize = 16;
/// Call sites whose frames are kept.
const KNOWN_MAX: usize = 16_384;

/// The live holds of one series, by call site.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    /// In no order: there are few.
    live: Vec<(SiteId, u64)>,
    /// All of them, those without a site included.
    total: u64,
}

impl Tally {
    pub(super) fn acquire(&mut self, site: Option<SiteId>) {
        self.total += 1;
        let Some(site) = site else {
            return;
        };
        if let Some((_, count)) = self.live.iter_mut().find(|(known, _)| *known == site) {
            *count += 1;
        } else if self.live.len() < SITES_MAX {
            self.live.push((site, 1));
        }
    }

    pub(super) fn release(&mut self, site: Option<SiteId>) {
        self.total = self.total.saturating_sub(1);
        let Some(site) = site else {
            return;
        };
        if let Some(at) = self.live.iter().position(|(known, _)| *known == site) {
            self.live[at].1 -= 1;
            if self.live[at].1 == 0 {
                self.live.swap_remove(at);
            }
        }
    }

    /// The site that has most of them; of several the one with the lowest number.
    pub(super) fn dominant(&self) -> Option<SiteId> {
        self.live.iter().min_by_key(|&&(site, held)| (u64::MAX - held, site)).map(|&(site, _)| site)
    }
}

/// The frames of the call sites.
#[derive(Clone, Debug, Default)]
pub(super) struct Sites {
    frames: FxHashMap<SiteId, Arc<[Frame]>>,
    swept: Second,
}

impl Sites {
    pub(super) fn set(&mut self, id: SiteId, frames: &Arc<[Frame]>) {
        if self.frames.len() < KNOWN_MAX || self.frames.contains_key(&id) {
            self.frames.insert(id, Arc::clone(frames));
        }
    }

    /// Whether there is no room left and the last sweep is long enough ago.
    pub(super) fn wants_sweep(&self, now: Second) -> bool {
        self.frames.len() >= KNOWN_MAX && now > self.swept
    }

    /// Forgets the sites that no hold is from.
    pub(super) fn sweep(&mut self, now: Second, used: &FxHashSet<SiteId>) {
        self.swept = now;
        self.frames.retain(|id, _| used.contains(id));
    }

    /// A site's share of a series, if its frames are known.
    pub(super) fn share(&self, id: SiteId, tally: &Tally) -> Option<SiteShare> {
        let frames = Arc::clone(self.frames.get(&id)?);
        let held = tally.live.iter().find(|(site, _)| *site == id).map_or(0, |&(_, held)| held);
        Some(SiteShare { id, frames, held, of: tally.total })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU64;

    fn site(number: u64) -> Option<SiteId> {
        NonZeroU64::new(number).map(SiteId)
    }

    #[test]
    fn the_site_with_most_live_holds_dominates() {
        let mut tally = Tally::default();
        for number in [1, 1, 1, 2, 2, 0] {
            tally.acquire(site(number));
        }
        assert_eq!((tally.dominant(), tally.total), (site(1), 6));
        tally.release(site(1));
        tally.release(site(1));
        assert_eq!((tally.dominant(), tally.total), (site(2), 4));
    }

    #[test]
    fn room_is_made_by_forgetting_what_holds_nothing() {
        let mut sites = Sites::default();
        let frames = [Frame::Address(1)].into();
        let learn =
            |sites: &mut Sites, number| site(number).into_iter().for_each(|id| sites.set(id, &frames));
        (1..=KNOWN_MAX as u64 + 1).for_each(|number| learn(&mut sites, number));
        assert_eq!((sites.frames.len(), sites.wants_sweep(5)), (KNOWN_MAX, true));
        sites.sweep(5, &site(3).into_iter().collect());
        assert_eq!((sites.frames.len(), sites.wants_sweep(5)), (1, false));
        learn(&mut sites, 99_999);
        assert_eq!(sites.frames.len(), 2);
    }

    #[test]
    fn sites_are_bounded_and_holds_are_not() {
        let mut tally = Tally::default();
        (1..=1_000).for_each(|number| tally.acquire(site(number)));
        assert_eq!((tally.live.len(), tally.total), (SITES_MAX, 1_000));
        (1..=1_000).for_each(|number| tally.release(site(number)));
        assert_eq!((tally.dominant(), tally.total), (None, 0));
    }
}
