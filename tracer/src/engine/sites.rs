//! How many holds of a series each call site has: which line of code it is that does not let go.

use super::recency::Recency;
use super::report::SiteShare;
use crate::event::{Frame, SiteId};
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// Call sites told apart in one series; the holds of others count as of none.
const SITES_MAX: usize = 16;

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
#[derive(Clone, Debug)]
pub(super) struct Sites {
    by_id: FxHashMap<SiteId, u32>,
    frames: Vec<(SiteId, Arc<[Frame]>)>,
    order: Recency<1>,
    max: usize,
    /// Call sites that made room for others.
    pub(super) evicted: u64,
}

impl Sites {
    /// Room for so many.
    pub(super) fn new(max: usize) -> Self {
        Self {
            by_id: FxHashMap::default(),
            frames: Vec::new(),
            order: Recency::default(),
            max: max.max(1),
            evicted: 0,
        }
    }

    /// Sets a site's frames.
    pub(super) fn set(&mut self, id: SiteId, frames: &Arc<[Frame]>) {
        let slot = self.slot(id);
        self.frames[slot as usize].1 = Arc::clone(frames);
        self.order.touch(slot, 0);
    }

    /// The slot of a site: its own, a new one, or that of the one which is longest unused.
    fn slot(&mut self, id: SiteId) -> u32 {
        if let Some(&slot) = self.by_id.get(&id) {
            return slot;
        }
        let slot = match self.order.oldest(0).filter(|_| self.frames.len() >= self.max) {
            Some(slot) => {
                self.evicted += 1;
                self.by_id.remove(&self.frames[slot as usize].0);
                self.frames[slot as usize].0 = id;
                slot
            }
            None => {
                self.frames.push((id, Arc::default()));
                #[expect(clippy::cast_possible_truncation, reason = "at most `max`")]
                let slot = (self.frames.len() - 1) as u32;
                slot
            }
        };
        self.by_id.insert(id, slot);
        slot
    }

    /// A hold was acquired from a site.
    pub(super) fn touch(&mut self, id: SiteId) {
        if let Some(&slot) = self.by_id.get(&id) {
            self.order.touch(slot, 0);
        }
    }

    /// A site's share of a series, if its frames are known.
    pub(super) fn share(&self, id: SiteId, tally: &Tally) -> Option<SiteShare> {
        let slot = *self.by_id.get(&id)?;
        let frames = Arc::clone(&self.frames.get(slot as usize)?.1);
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
    fn the_site_that_is_longest_unused_makes_room() {
        let mut sites = Sites::new(2);
        let frames = [Frame::Address(1)].into();
        for number in [1, 2] {
            site(number).into_iter().for_each(|id| sites.set(id, &frames));
        }
        site(1).into_iter().for_each(|id| sites.touch(id));
        site(3).into_iter().for_each(|id| sites.set(id, &frames));
        let known = |number| site(number).is_some_and(|id| sites.share(id, &Tally::default()).is_some());
        assert_eq!(([1, 2, 3].map(known), sites.evicted), ([true, false, true], 1));
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
