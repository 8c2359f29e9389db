//! How many holds were born when: a histogram of birth seconds that needs little memory.

use crate::engine::detector::Second;

/// Buckets of one histogram: `merge` leaves about 40 for two hours.
const BUCKETS_MAX: usize = 80;
/// Two buckets become one when together they are no wider than this share of their age.
const WIDTH_SHARE: u32 = 4;

/// A multiset of birth seconds: exact for the young, coarser with age.
///
/// Births are kept in buckets, each as wide as a quarter of its age at most (an exponential
/// histogram), so that a set of any size and age takes under a kilobyte. A removal needs the birth
/// second only.
#[derive(Clone, Debug, Default)]
pub struct AgeHistogram {
    /// Oldest first; they do not overlap.
    buckets: Vec<Bucket>,
    total: u64,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    first: Second,
    last: Second,
    count: u32,
}

impl AgeHistogram {
    /// Holds that were born then, as of `now`.
    #[cfg(test)]
    pub(in crate::engine::detector) fn of(births: impl IntoIterator<Item = Second>, now: Second) -> Self {
        let mut ages = Self::default();
        births.into_iter().for_each(|born| ages.insert(born));
        ages.merge(now);
        ages
    }

    pub(super) fn insert(&mut self, born: Second) {
        self.total += 1;
        // Births come in order, except for a few from other CPUs and holds that moved here.
        let after = self.buckets.partition_point(|bucket| bucket.first <= born);
        if let Some(bucket) = after.checked_sub(1).and_then(|at| self.buckets.get_mut(at))
            && born <= bucket.last
        {
            bucket.count += 1;
            return;
        }
        if self.buckets.len() >= BUCKETS_MAX {
            self.join(0);
            return self.insert_again(born);
        }
        self.buckets.insert(after, Bucket { first: born, last: born, count: 1 });
    }

    fn insert_again(&mut self, born: Second) {
        self.total -= 1;
        self.insert(born);
    }

    /// Removes one that was born then.
    pub(super) fn remove(&mut self, born: Second) {
        let after = self.buckets.partition_point(|bucket| bucket.first <= born);
        let bucket = after.checked_sub(1).and_then(|at| self.buckets.get_mut(at));
        if let Some(bucket) = bucket.filter(|bucket| bucket.count > 0 && born <= bucket.last) {
            bucket.count -= 1;
            self.total -= 1;
        }
    }

    /// Makes buckets coarser that have become older, and drops empty ones.
    pub(super) fn merge(&mut self, now: Second) {
        self.buckets.retain(|bucket| bucket.count > 0);
        let mut at = 0;
        while at + 1 < self.buckets.len() {
            let (older, younger) = (self.buckets[at], self.buckets[at + 1]);
            if younger.last - older.first < now.saturating_sub(younger.last) / WIDTH_SHARE {
                self.join(at);
            } else {
                at += 1;
            }
        }
    }

    /// Makes one of a bucket and the next.
    fn join(&mut self, at: usize) {
        let younger = self.buckets.remove(at + 1);
        let older = &mut self.buckets[at];
        older.last = younger.last;
        older.count += younger.count;
    }

    /// How many were born up to and including a second; a bucket counts once its youngest was.
    #[must_use]
    pub fn born_until(&self, then: Second) -> u64 {
        let old = self.buckets.iter().take_while(|bucket| bucket.last <= then);
        old.map(|bucket| u64::from(bucket.count)).sum()
    }

    /// How many were born from one second up to, and without, another; a bucket that lies
    /// across counts in proportion.
    #[must_use]
    pub fn born_between(&self, from: f64, to: f64) -> f64 {
        let mut born = 0.0;
        for bucket in &self.buckets {
            let (first, end) = (f64::from(bucket.first), f64::from(bucket.last) + 1.0);
            let overlap = end.min(to) - first.max(from);
            if overlap > 0.0 {
                born += f64::from(bucket.count) * overlap / (end - first);
            }
        }
        born
    }

    /// The longest time between two births from one second up to another.
    #[must_use]
    pub fn gap_max(&self, from: f64, to: f64) -> f64 {
        let within = self.buckets.iter().filter(|bucket| {
            bucket.count > 0 && f64::from(bucket.last) >= from && f64::from(bucket.first) <= to
        });
        let mut last = None;
        within.fold(0.0, |longest, bucket| {
            let before = last.replace(f64::from(bucket.last)).unwrap_or(f64::from(bucket.first));
            (f64::from(bucket.first) - before).max(longest)
        })
    }

    /// Buckets, oldest first: the birth second of its youngest hold, and how many it counts.
    pub fn iter(&self) -> impl Iterator<Item = (Second, u32)> {
        self.buckets.iter().map(|bucket| (bucket.last, bucket.count))
    }

    /// When the oldest was born.
    #[must_use]
    pub fn oldest(&self) -> Option<Second> {
        self.buckets.iter().find(|bucket| bucket.count > 0).map(|bucket| bucket.first)
    }

    /// When the youngest was born.
    #[must_use]
    pub fn newest(&self) -> Option<Second> {
        self.buckets.iter().rev().find(|bucket| bucket.count > 0).map(|bucket| bucket.last)
    }

    /// How many there are.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn young_ages_are_exact() {
        let mut ages = AgeHistogram::default();
        for born in [3, 3, 5, 4] {
            ages.insert(born);
        }
        ages.merge(6);
        assert_eq!([2, 3, 4, 5].map(|then| ages.born_until(then)), [0, 2, 3, 4]);
        ages.remove(3);
        ages.remove(9);
        assert_eq!((ages.total(), ages.oldest(), ages.newest()), (3, Some(3), Some(5)));
    }

    proptest! {
        #[test]
        fn it_is_small_and_right_to_a_quarter_of_the_age(births in prop::collection::vec(0u32..8_000, 1..2_000), kept in 1usize..100) {
            let mut births = births;
            births.sort_unstable();
            let mut ages = AgeHistogram::default();
            let mut live = Vec::new();
            for (at, &born) in births.iter().enumerate() {
                ages.insert(born);
                if at % kept == 0 { live.push(born) } else { ages.remove(born) }
                if at % 16 == 0 {
                    ages.merge(born);
                }
            }
            let now = births[births.len() - 1] + 1;
            ages.merge(now);
            prop_assert!(ages.buckets.len() <= BUCKETS_MAX);
            prop_assert_eq!(ages.total(), live.len() as u64);
            for age in [10, 100, 1_000] {
                let older = |age: u32| live.iter().filter(|&&born| born + age <= now).count() as u64;
                let counted = ages.born_until(now.saturating_sub(age));
                prop_assert!(now < age || counted <= older(age) && counted >= older(age + age / 2 + 1), "{} at {}", counted, age);
            }
        }
    }
}
