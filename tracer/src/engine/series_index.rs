//! Which series there are, and who counts in which.
//!
//! Every hold counts in up to three: its destination's, which can name it; its owner's as a whole,
//! which sees a leak that is spread over many destinations; and its program's, which sees one that
//! is spread over many short-lived processes.

use super::detector::features::{Answer, Window};
use super::detector::policy::{Judgement, Policy, Surroundings};
use super::detector::{Second, Series};
use super::holds::Hold;
use super::owners::OwnerIx;
use super::report::Verdict;
use super::sampling::Sample;
use super::series_key::{Key, Membership, Part, SeriesIx};
use super::sites::Tally;
use super::slot_set::SlotSet;
use crate::event::PoolId;
use rustc_hash::FxHashMap;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::num::NonZeroU32;

/// Series among which the one to evict is chosen.
const EVICTION_CANDIDATES: usize = 64;

/// A series, which call sites its holds are from, and what the last sample of them showed.
#[derive(Debug)]
pub(super) struct SeriesEntry {
    pub(super) key: Key,
    pub(super) series: Series,
    pub(super) sites: Tally,
    pub(super) sample: Option<Sample>,
}

/// Where a series is kept.
#[derive(Debug)]
struct Slot {
    generation: NonZeroU32,
    entry: Option<SeriesEntry>,
}

/// What a tick found.
#[derive(Debug, Default)]
pub(super) struct Ticked {
    /// What is thought of each series that is not clean, by owner.
    pub(super) found: FxHashMap<OwnerIx, Vec<(SeriesIx, Judgement)>>,
    /// The series whose holds, born in a window, are to be sampled.
    pub(super) queries: Vec<(SeriesIx, Window)>,
}

/// All series. Those that rest cost nothing until something happens to them.
#[derive(Debug)]
pub(super) struct SeriesIndex {
    policy: Box<dyn Policy>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    by_key: FxHashMap<Key, SeriesIx>,
    by_owner: BTreeSet<(OwnerIx, SeriesIx)>,
    /// Slots whose series is judged each second.
    awake: SlotSet,
    /// Series that rest and hold nothing, by the second in which they are over unless they wake.
    ending: BTreeMap<Second, Vec<SeriesIx>>,
    /// The last second that was judged.
    now: Second,
    max: usize,
    /// Where the next search for a series to evict begins.
    hand: usize,
    /// Series that were evicted for others, or found no room.
    pub(super) evicted: u64,
}

impl SeriesIndex {
    /// An empty index of at most `max` series.
    pub(super) fn new(policy: Box<dyn Policy>, max: usize) -> Self {
        Self {
            policy,
            slots: Vec::new(),
            free: Vec::new(),
            by_key: FxHashMap::default(),
            by_owner: BTreeSet::new(),
            awake: SlotSet::default(),
            ending: BTreeMap::new(),
            now: 0,
            max,
            hand: 0,
            evicted: 0,
        }
    }

    pub(super) fn get(&self, ix: SeriesIx) -> Option<&SeriesEntry> {
        let slot = self.slots.get(ix.slot as usize).filter(|slot| slot.generation == ix.generation)?;
        slot.entry.as_ref()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &SeriesEntry> {
        self.slots.iter().filter_map(|slot| slot.entry.as_ref())
    }

    /// The series that something happens to. It wakes, with all seconds of its rest caught up.
    pub(super) fn get_mut(&mut self, ix: SeriesIx) -> Option<&mut SeriesEntry> {
        let slot = self.slots.get_mut(ix.slot as usize).filter(|slot| slot.generation == ix.generation)?;
        let entry = slot.entry.as_mut()?;
        if self.awake.insert(ix.slot) {
            entry.series.wake(self.now);
        }
        Some(entry)
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
                series.features.exit(hold.pool.protocol, hold.state, hold.state_since);
                series.features.release(hold.born, lifetime_s);
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
                series.features.exit(protocol, before.state, before.state_since);
                series.features.enter(protocol, after.state, after.state_since);
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

    /// The series of an owner's holds to one destination.
    pub(super) fn of_destination(
        &self,
        owner: OwnerIx,
        pool: PoolId,
        remote: Option<SocketAddr>,
    ) -> Option<SeriesIx> {
        self.by_key.get(&Key { owner, pool, part: Part::Destination(remote) }).copied()
    }

    /// A TIME_WAIT began or ended.
    pub(super) fn time_wait(&mut self, ix: SeriesIx, change: i64) {
        if let Some(entry) = self.get_mut(ix) {
            entry.series.features.count_time_wait(change);
        }
    }

    /// The source says for how long nothing has moved on a hold.
    pub(super) fn record_idle(&mut self, hold: &Hold, age_s: f64, idle_s: f64) {
        let Some(born) = hold.born else {
            return;
        };
        for ix in hold.series.iter() {
            if let Some(entry) = self.get_mut(ix) {
                entry.series.features.record_idle(born, Answer { age_s, idle_s });
            }
        }
    }

    fn add(&mut self, ix: SeriesIx, hold: &Hold) {
        if let Some(SeriesEntry { series, sites, .. }) = self.get_mut(ix) {
            series.features.acquire(hold.born);
            series.features.enter(hold.pool.protocol, hold.state, hold.state_since);
            sites.acquire(hold.site);
        }
    }

    fn remove(&mut self, ix: SeriesIx, hold: &Hold) {
        if let Some(SeriesEntry { series, sites, .. }) = self.get_mut(ix) {
            series.features.exit(hold.pool.protocol, hold.state, hold.state_since);
            series.features.leave(hold.born);
            sites.release(hold.site);
        }
    }

    /// The series of a key, made if there is room.
    fn find_or_create(&mut self, key: Key) -> Option<SeriesIx> {
        if let Some(&ix) = self.by_key.get(&key) {
            return Some(ix);
        }
        if self.by_key.len() >= self.max {
            self.evicted += 1;
            let evicted = self.next_to_evict()?;
            self.drop_series(evicted);
        }
        let series = Series::new(self.now, self.policy.as_ref());
        let entry = Some(SeriesEntry { key, series, sites: Tally::default(), sample: None });
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                let slot = u32::try_from(self.slots.len()).ok()?;
                self.slots.push(Slot { generation: NonZeroU32::MIN, entry: None });
                slot
            }
        };
        let place = &mut self.slots[slot as usize];
        place.entry = entry;
        let ix = SeriesIx { slot, generation: place.generation };
        self.awake.insert(slot);
        self.by_key.insert(key, ix);
        self.by_owner.insert((key.owner, ix));
        Some(ix)
    }

    /// The clean series that is missed least of some that come next: one that holds nothing, else one
    /// that rests, else the smallest. `None` if none of them is clean.
    fn next_to_evict(&mut self) -> Option<u32> {
        let count = self.slots.len();
        let candidates = (self.hand..self.hand + EVICTION_CANDIDATES.min(count)).map(|at| at % count);
        self.hand = (self.hand + EVICTION_CANDIDATES) % count;
        let rank = |at: usize| {
            let slot = u32::try_from(at).ok()?;
            let series = &self.slots[at].entry.as_ref()?.series;
            let held = series.features.held();
            let missed = (held > 0, self.awake.contains(slot), held);
            (series.verdict() == Verdict::Clean).then_some((missed, slot))
        };
        candidates.filter_map(rank).min().map(|(_, slot)| slot)
    }

    /// Drops a series. Holds that still refer to it count in it no more.
    fn drop_series(&mut self, slot: u32) {
        let place = &mut self.slots[slot as usize];
        let Some(entry) = place.entry.take() else {
            return;
        };
        let ix = SeriesIx { slot, generation: place.generation };
        place.generation = place.generation.checked_add(1).unwrap_or(NonZeroU32::MIN);
        self.awake.remove(slot);
        self.by_key.remove(&entry.key);
        self.by_owner.remove(&(entry.key.owner, ix));
        self.free.push(slot);
    }

    /// Judges second `now` in every series that does not rest, and drops those that are over.
    pub(super) fn tick(&mut self, now: Second, mut around: impl FnMut(&Key) -> Surroundings) -> Ticked {
        if now > self.now + 1 {
            self.wake_all(); // The seconds between are not lived through.
        }
        self.now = now;
        let mut ticked = Ticked::default();
        let mut over = Vec::new();
        for slot in self.awake.iter() {
            let place = &mut self.slots[slot as usize];
            let Some(SeriesEntry { key, series, .. }) = &mut place.entry else {
                continue;
            };
            let ix = SeriesIx { slot, generation: place.generation };
            let second = series.tick(now, around(key), self.policy.as_ref());
            if let Some(judgement) = second.judgement {
                ticked.found.entry(key.owner).or_default().push((ix, judgement));
            }
            ticked.queries.extend(second.query.map(|window| (ix, window)));
            let is_over = series.is_over();
            if second.rests || is_over {
                over.push((slot, is_over));
            }
            if second.rests && !is_over && series.features.held() == 0 {
                let ends = now + series.features.flows().still_in_s();
                self.ending.entry(ends).or_default().push(ix);
            }
        }
        for (slot, is_over) in over {
            self.awake.remove(slot);
            if is_over {
                self.drop_series(slot);
            }
        }
        self.drop_ended(now);
        ticked
    }

    /// Drops the series that rest and are over now.
    fn drop_ended(&mut self, now: Second) {
        while let Some(due) = self.ending.first_entry().filter(|due| *due.key() <= now) {
            for ix in due.remove() {
                let place =
                    self.slots.get_mut(ix.slot as usize).filter(|slot| slot.generation == ix.generation);
                let Some(entry) = place.and_then(|slot| slot.entry.as_mut()) else {
                    continue;
                };
                if self.awake.contains(ix.slot) {
                    continue;
                }
                entry.series.wake(now);
                if entry.series.is_over() {
                    self.drop_series(ix.slot);
                }
            }
        }
    }

    /// How many are judged each second.
    #[cfg(test)]
    pub(super) fn awake(&self) -> usize {
        self.awake.iter().count()
    }

    fn wake_all(&mut self) {
        for (slot, place) in (0u32..).zip(&mut self.slots) {
            if let Some(entry) = &mut place.entry
                && self.awake.insert(slot)
            {
                entry.series.wake(self.now);
            }
        }
    }

    /// What is thought right now, between ticks, of an owner's series.
    pub(super) fn of(
        &self,
        owner: OwnerIx,
        now: Second,
        mut around: impl FnMut(&Key) -> Surroundings,
    ) -> Vec<(SeriesIx, Judgement)> {
        let first = SeriesIx { slot: 0, generation: NonZeroU32::MIN };
        let last = SeriesIx { slot: u32::MAX, generation: NonZeroU32::MAX };
        let own = self.by_owner.range((owner, first)..=(owner, last)).map(|&(_, ix)| ix);
        own.filter_map(|ix| Some((ix, self.get(ix)?)))
            .filter(|(_, entry)| entry.series.verdict() > Verdict::Clean)
            .map(|(ix, entry)| (ix, entry.series.judgement(now, around(&entry.key))))
            .collect()
    }
}
