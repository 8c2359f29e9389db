//! Which series there are, and who counts in which.
//!
//! Every hold counts in up to three: its destination's, which can name it; its owner's as a whole,
//! which sees a leak that is spread over many destinations; and its program's, which sees one that
//! is spread over many short-lived processes.

use super::detector::{Judged, Second, Series, Surroundings, Thresholds, Window};
use super::holds::Hold;

use super::owners::OwnerIx;
use super::report::Verdict;
use super::sampling::Sample;
use super::series_key::{Key, Membership, Part, SeriesIx};
use super::sites::Tally;
use crate::event::PoolId;
use rustc_hash::FxHashMap;
use std::net::SocketAddr;

/// Series kept at once; a hold beyond counts in none of its own.
const SERIES_MAX: usize = 32_768;

/// A series, which call sites its holds are from, and what the last sample of them showed.
#[derive(Clone, Debug)]
pub(super) struct SeriesEntry {
    pub(super) key: Key,
    pub(super) series: Series,
    pub(super) sites: Tally,
    pub(super) sample: Option<Sample>,
}

/// What a tick found.
#[derive(Debug, Default)]
pub(super) struct Ticked {
    /// What is thought of each series that is not clean, by owner.
    pub(super) found: FxHashMap<OwnerIx, Vec<(SeriesIx, Judged)>>,
    /// The series whose holds, born in a window, are to be sampled.
    pub(super) queries: Vec<(SeriesIx, Window)>,
}

/// All series.
#[derive(Clone, Debug, Default)]
pub(super) struct SeriesIndex {
    slots: Vec<Option<SeriesEntry>>,
    free: Vec<SeriesIx>,
    by_key: FxHashMap<Key, SeriesIx>,
    /// Series that found no room.
    pub(super) refused: u64,
}

impl SeriesIndex {
    pub(super) fn get(&self, ix: SeriesIx) -> Option<&SeriesEntry> {
        self.slots.get(ix.0 as usize)?.as_ref()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &SeriesEntry> {
        self.slots.iter().flatten()
    }

    pub(super) fn get_mut(&mut self, ix: SeriesIx) -> Option<&mut SeriesEntry> {
        self.slots.get_mut(ix.0 as usize)?.as_mut()
    }

    /// A hold begins to count; its program is counted for as well, if it has one.
    pub(super) fn acquire(&mut self, hold: &mut Hold, program: Option<OwnerIx>) {
        let own = |part| Key { owner: hold.owner, pool: hold.pool, part };
        hold.series = Membership {
            destination: self.find_or_create(own(Part::Destination(hold.remote))),
            whole: self.find_or_create(own(Part::Whole)),
            program: program
                .and_then(|owner| self.find_or_create(Key { owner, pool: hold.pool, part: Part::Program })),
        };
        hold.series.iter().for_each(|ix| self.add(ix, hold));
    }

    /// A hold ended.
    pub(super) fn release(&mut self, hold: &Hold, lifetime_s: f64) {
        for ix in hold.series.iter() {
            if let Some(SeriesEntry { series, sites, .. }) = self.get_mut(ix) {
                series.exit(hold.pool.protocol, hold.state, hold.state_since);
                series.release(hold.born, lifetime_s);
                sites.release(hold.site);
            }
        }
    }

    /// A hold counts nowhere any more, though it did not end.
    pub(super) fn leave(&mut self, hold: &Hold) {
        hold.series.iter().for_each(|ix| self.remove(ix, hold));
    }

    /// A hold belongs to another owner. Its program stays the one it came from if it has no other:
    /// what a process leaves behind to nobody is its program's doing.
    pub(super) fn transfer(&mut self, before: &Hold, after: &mut Hold, program: Option<OwnerIx>) {
        self.leave(before);
        let origin = before.series.program.and_then(|ix| self.get(ix)).map(|entry| entry.key.owner);
        self.acquire(after, program.or(origin));
    }

    /// A hold goes from its state to another, and perhaps to another destination.
    pub(super) fn change(&mut self, before: &Hold, after: &mut Hold) {
        let stays = before.remote == after.remote;
        let same = Membership { destination: before.series.destination.filter(|_| stays), ..before.series };
        let protocol = before.pool.protocol;
        for ix in same.iter() {
            if let Some(SeriesEntry { series, .. }) = self.get_mut(ix) {
                series.exit(protocol, before.state, before.state_since);
                series.enter(protocol, after.state, after.state_since);
            }
        }
        if stays {
            return;
        }
        before.series.destination.into_iter().for_each(|ix| self.remove(ix, before));
        let part = Part::Destination(after.remote);
        after.series.destination = self.find_or_create(Key { owner: after.owner, pool: after.pool, part });
        after.series.destination.into_iter().for_each(|ix| self.add(ix, after));
    }

    /// A TIME_WAIT began or ended.
    pub(super) fn time_wait(
        &mut self,
        owner: OwnerIx,
        pool: PoolId,
        remote: Option<SocketAddr>,
        change: i64,
    ) {
        let key = Key { owner, pool, part: Part::Destination(remote) };
        if let Some(entry) = self.by_key.get(&key).copied().and_then(|ix| self.get_mut(ix)) {
            entry.series.time_wait(change);
        }
    }

    /// The source says for how long nothing has moved on a hold.
    pub(super) fn record_idle(&mut self, hold: &Hold, age_s: f64, idle_s: f64) {
        let Some(born) = hold.born else {
            return;
        };
        for ix in hold.series.iter() {
            if let Some(entry) = self.get_mut(ix) {
                entry.series.record_idle(born, age_s, idle_s);
            }
        }
    }

    fn add(&mut self, ix: SeriesIx, hold: &Hold) {
        if let Some(SeriesEntry { series, sites, .. }) = self.get_mut(ix) {
            series.acquire(hold.born);
            series.enter(hold.pool.protocol, hold.state, hold.state_since);
            sites.acquire(hold.site);
        }
    }

    fn remove(&mut self, ix: SeriesIx, hold: &Hold) {
        if let Some(SeriesEntry { series, sites, .. }) = self.get_mut(ix) {
            series.exit(hold.pool.protocol, hold.state, hold.state_since);
            series.leave(hold.born);
            sites.release(hold.site);
        }
    }

    /// The series of a key, made if there is room.
    fn find_or_create(&mut self, key: Key) -> Option<SeriesIx> {
        if let Some(&ix) = self.by_key.get(&key) {
            return Some(ix);
        }
        if self.by_key.len() >= SERIES_MAX {
            self.refused += 1;
            return None;
        }
        let new = SeriesEntry { key, series: Series::default(), sites: Tally::default(), sample: None };
        let ix = match self.free.pop() {
            Some(ix) => ix,
            None => {
                let ix = SeriesIx(u32::try_from(self.slots.len()).ok()?);
                self.slots.push(None);
                ix
            }
        };
        self.slots[ix.0 as usize] = Some(new);
        self.by_key.insert(key, ix);
        Some(ix)
    }

    /// Lets a second go by in every series, and drops those with nothing left to watch.
    pub(super) fn tick(
        &mut self,
        now: Second,
        thresholds: &Thresholds,
        mut around: impl FnMut(&Key) -> Surroundings,
    ) -> Ticked {
        let mut ticked = Ticked::default();
        for (at, slot) in (0u32..).zip(&mut self.slots) {
            let Some(SeriesEntry { key, series, .. }) = slot else {
                continue;
            };
            let ix = SeriesIx(at);
            let second = series.tick(now, around(key), thresholds);
            if second.judged.verdict > Verdict::Clean {
                ticked.found.entry(key.owner).or_default().push((ix, second.judged));
            }
            if let Some(window) = second.query {
                series.query_idle(now, window);
                ticked.queries.push((ix, window));
            }
            if series.is_idle() {
                self.by_key.remove(key);
                *slot = None;
                self.free.push(ix);
            }
        }
        ticked
    }

    /// What is thought right now, between ticks, of an owner's series.
    pub(super) fn of(
        &self,
        owner: OwnerIx,
        now: Second,
        mut around: impl FnMut(&Key) -> Surroundings,
    ) -> Vec<(SeriesIx, Judged)> {
        let own = (0u32..).zip(&self.slots).filter_map(|(at, slot)| Some((SeriesIx(at), slot.as_ref()?)));
        own.filter(|(_, entry)| entry.key.owner == owner)
            .map(|(ix, entry)| (ix, entry.series.judged(now, around(&entry.key))))
            .filter(|(_, judged)| judged.verdict > Verdict::Clean)
            .collect()
    }
}
