//! How long released ports were held.

use crate::engine::report::LifetimeReport;

/// Buckets of one owner, 4 KiB. Beyond, two neighbours become one and the resolution halves.
const BUCKETS_MAX: usize = 512;
/// Bits of a value that its bucket keeps: a resolution of 1 %.
const PRECISION: u32 = 7;

/// Completed lifetimes of one owner, in microseconds, to 1 %.
///
/// A sparse histogram with the buckets of an HDR histogram of two digits: most owners of a busy
/// machine are short-lived and fill a few buckets, a dense histogram takes 7 KiB for each.
#[derive(Clone, Debug, Default)]
pub(in crate::engine) struct Lifetimes {
    /// Bucket and count, by bucket.
    buckets: Vec<(u16, u32)>,
    /// How often the resolution was halved.
    coarser: u8,
}

impl Lifetimes {
    pub(in crate::engine) fn record(&mut self, lifetime_ns: u64) {
        self.add(bucket_of((lifetime_ns / 1_000).max(1)) >> self.coarser, 1);
    }

    fn add(&mut self, bucket: u16, count: u32) {
        match self.buckets.binary_search_by_key(&bucket, |&(bucket, _)| bucket) {
            Ok(at) => self.buckets[at].1 = self.buckets[at].1.saturating_add(count),
            Err(at) => {
                self.buckets.insert(at, (bucket, count));
                if self.buckets.len() > BUCKETS_MAX {
                    self.coarsen();
                }
            }
        }
    }

    fn coarsen(&mut self) {
        self.coarser += 1;
        for (bucket, _) in &mut self.buckets {
            *bucket >>= 1;
        }
        self.buckets.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 = kept.1.saturating_add(next.1);
            }
            same
        });
    }

    /// Adds the lifetimes of another owner.
    pub(in crate::engine) fn absorb(&mut self, other: &Self) {
        while self.coarser < other.coarser {
            self.coarsen();
        }
        for &(bucket, count) in &other.buckets {
            // Adding may make this histogram coarser.
            self.add(bucket >> (self.coarser - other.coarser), count);
        }
    }

    pub(in crate::engine) fn report(&self) -> LifetimeReport {
        let count = self.buckets.iter().map(|&(_, count)| u64::from(count)).sum();
        let Some(&(last, _)) = self.buckets.last() else {
            return LifetimeReport::default();
        };
        let at = |quantile: f64| Some(self.value_at(quantile, count));
        LifetimeReport { count, p50: at(0.5), p90: at(0.9), p99: at(0.99), max: Some(self.highest_s(last)) }
    }

    fn value_at(&self, quantile: f64, total: u64) -> f64 {
        let mut counted = 0.0;
        let wanted = (quantile * total as f64).ceil().max(1.0);
        let reached = self.buckets.iter().find(|&&(_, count)| {
            counted += f64::from(count);
            counted >= wanted
        });
        reached.or(self.buckets.last()).map_or(0.0, |&(bucket, _)| self.highest_s(bucket))
    }

    /// The highest value of a bucket, in seconds.
    fn highest_s(&self, bucket: u16) -> f64 {
        let next = (u32::from(bucket) + 1) << self.coarser;
        (lowest_of(next) - 1) as f64 / 1e6
    }
}

/// Values below 256 have a bucket each; above, each power of two has 128.
fn bucket_of(micros: u64) -> u16 {
    let shift = 63 - (micros | ((2 << PRECISION) - 1)).leading_zeros() - PRECISION;
    #[expect(clippy::cast_possible_truncation, reason = "at most 56 * 128 + 255")]
    let bucket = (u64::from(shift << PRECISION) + (micros >> shift)) as u16;
    bucket
}

/// The lowest value of a bucket.
fn lowest_of(bucket: u32) -> u64 {
    let shift = (bucket >> PRECISION).saturating_sub(1);
    u64::from(bucket - (shift << PRECISION)) << shift
}

#[cfg(test)]
mod tests {
    use super::*;
    use hdrhistogram::Histogram;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_reports_what_a_dense_histogram_does(micros in prop::collection::vec(prop_oneof![1u64..300, 1u64..10_000_000, 1u64..1 << 42], 1..300)) {
            let mut lifetimes = Lifetimes::default();
            let mut dense = Histogram::<u32>::new(2).unwrap();
            for &micros in &micros {
                lifetimes.record(micros * 1_000 + 7);
                dense.record(micros).unwrap();
            }
            let seconds = |micros: u64| Some(micros as f64 / 1e6);
            let at = |quantile| seconds(dense.value_at_quantile(quantile));
            let expected = LifetimeReport { count: dense.len(), p50: at(0.5), p90: at(0.9), p99: at(0.99), max: seconds(dense.max()) };
            prop_assert_eq!(lifetimes.report(), expected);
        }

        #[test]
        fn it_is_bounded_and_counts_all(micros in prop::collection::vec(1u64..1 << 40, 1..3_000), split in 0usize..3_000) {
            let (mut one, mut other) = (Lifetimes::default(), Lifetimes::default());
            for (at, &micros) in micros.iter().enumerate() {
                if at < split { one.record(micros * 1_000) } else { other.record(micros * 1_000) }
            }
            one.absorb(&other);
            prop_assert!(one.buckets.len() <= BUCKETS_MAX);
            prop_assert_eq!(one.report().count, micros.len() as u64);
            let longest = micros.iter().copied().max().unwrap_or_default() as f64 / 1e6;
            let max = one.report().max.unwrap_or_default();
            prop_assert!(max >= longest && max <= longest * 1.6, "{} for {}", max, longest);
        }
    }
}
