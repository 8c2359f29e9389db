//! How many of a set were born when, in little room and without a list of its members.

use super::Second;

/// Buckets of one set: what `merge` leaves of two hours, with room to spare.
const BUCKETS_MAX: usize = 80;
/// Two buckets become one when together they are no wider than this share of their age.
const WIDTH_SHARE: u32 = 4;

/// A multiset of birth seconds: exact for the young, coarser with age.
///
/// Births are kept in buckets, each as wide as a quarter of its age at most (an exponential
/// histogram), so that a set of any size and age takes under a kilobyte. A removal needs the birth
/// second only.
#[derive(Clone, Debug, Default)]
pub(super) struct AgeHistogram {
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
    pub(super) fn insert(&mut self, born: Second) {
        self.total += 1;
        // Births come in order but for a few that other CPUs told late, or that moved here.
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

    /// Takes out one that was born then.
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

    /// How many were born up to then.
    pub(super) fn born_until(&self, then: Second) -> u64 {
        let old = self.buckets.iter().take_while(|bucket| bucket.last <= then);
        old.map(|bucket| u64::from(bucket.count)).sum()
    }

    /// How many were born from one second up to, and without, another; those of a bucket that lies
    /// across are taken to be spread evenly.
    pub(super) fn born_between(&self, from: f64, to: f64) -> f64 {
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
    pub(super) fn gap_max(&self, from: f64, to: f64) -> f64 {
        let within = self.buckets.iter().filter(|bucket| {
            bucket.count > 0 && f64::from(bucket.last) >= from && f64::from(bucket.first) <= to
        });
        let mut last = None;
        within.fold(0.0, |longest, bucket| {
            let before = last.replace(f64::from(bucket.last)).unwrap_or(f64::from(bucket.first));
            (f64::from(bucket.first) - before).max(longest)
        })
    }

    /// Buckets from the oldest on: the second their youngest was born in, and how many.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Second, u32)> {
        self.buckets.iter().map(|bucket| (bucket.last, bucket.count))
    }

    /// When the oldest was born.
    pub(super) fn oldest(&self) -> Option<Second> {
        self.buckets.iter().find(|bucket| bucket.count > 0).map(|bucket| bucket.first)
    }

    /// When the youngest was born.
    pub(super) fn newest(&self) -> Option<Second> {
        self.buckets.iter().rev().find(|bucket| bucket.count > 0).map(|bucket| bucket.last)
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_young_are_told_to_the_second() {
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
                let told = ages.born_until(now.saturating_sub(age));
                prop_assert!(now < age || told <= older(age) && told >= older(age + age / 2 + 1), "{} at {}", told, age);
            }
        }
    }
}
