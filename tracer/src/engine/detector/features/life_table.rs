//! The life table of a series: at which age holds end, and for how long holds of that age were
//! watched (the *exposure*).
//!
//! Deaths divided by exposure is the hazard at an age. It does not depend on load: twice as many
//! connections are twice the deaths and twice the exposure. A leak is an age beyond which there is
//! much exposure and hardly a death.

use super::AgeHistogram;
use crate::engine::detector::Second;
use std::sync::LazyLock;

/// Bins of 1/6 decade from 1 ms to 10⁴·⁵ s.
pub const BINS: usize = 45;
const BINS_PER_DECADE: f64 = 6.0;
const SHORTEST_S: f64 = 1e-3;
/// The bin of 1 s. Exposure is measured in whole seconds, so younger bins have none.
const FIRST_EXPOSED: usize = 18;
/// Exposure is kept in this part of a second after forgetting, so that later sums of whole seconds
/// are exact and do not depend on how many of them are added at once.
const EXPOSURE_GRAIN_S: f64 = 1.0 / 1024.0;

/// Lower edges of the bins, in seconds.
static EDGES_S: LazyLock<[f64; BINS]> =
    LazyLock::new(|| std::array::from_fn(|bin| SHORTEST_S * 10f64.powf(bin as f64 / BINS_PER_DECADE)));
/// The youngest age in whole seconds that lies in each bin or above.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 21,545")]
static YOUNGEST_S: LazyLock<[Second; BINS]> =
    LazyLock::new(|| std::array::from_fn(|bin| EDGES_S[bin].ceil() as Second));

/// The lower edge of a bin, in seconds.
#[must_use]
pub fn edge_s(bin: usize) -> f64 {
    EDGES_S[bin.min(BINS - 1)]
}

/// Deaths and exposure by age, with forgetting.
#[derive(Clone, Debug)]
pub struct LifeTable {
    deaths: [f32; BINS],
    exposure_s: [f64; BINS - FIRST_EXPOSED],
}

impl Default for LifeTable {
    fn default() -> Self {
        Self { deaths: [0.0; BINS], exposure_s: [0.0; BINS - FIRST_EXPOSED] }
    }
}

impl LifeTable {
    /// A hold ended at this age.
    pub(super) fn record_death(&mut self, age_s: f64) {
        let decades = (age_s / SHORTEST_S).max(1.0).log10();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not negative, bounded")]
        let bin = ((decades * BINS_PER_DECADE) as usize).min(BINS - 1);
        self.deaths[bin] += 1.0;
    }

    /// Adds the exposure of each of the seconds `from..=to`: all that live were watched in them.
    pub(super) fn expose(&mut self, ages: &AgeHistogram, from: Second, to: Second) {
        let mut start = BINS - 1;
        for (born, count) in ages.iter() {
            let (youngest, mut oldest) = (from.saturating_sub(born), to.saturating_sub(born));
            // Later buckets are younger, so the search goes on where it ended.
            while start > FIRST_EXPOSED && YOUNGEST_S[start] > oldest {
                start -= 1;
            }
            for bin in (FIRST_EXPOSED..=start).rev() {
                let first = YOUNGEST_S[bin].max(youngest);
                if first <= oldest {
                    let seconds = f64::from(oldest - first + 1);
                    self.exposure_s[bin - FIRST_EXPOSED] += f64::from(count) * seconds;
                    oldest = first.saturating_sub(1);
                }
                if first == youngest {
                    break;
                }
            }
        }
    }

    /// Multiplies what is remembered by `share`.
    #[expect(clippy::cast_possible_truncation, reason = "a share between 0 and 1")]
    pub(super) fn forget(&mut self, share: f64) {
        let share = share as f32;
        self.deaths.iter_mut().for_each(|deaths| *deaths *= share);
        for exposure_s in &mut self.exposure_s {
            let left_s = *exposure_s * f64::from(share);
            *exposure_s = (left_s / EXPOSURE_GRAIN_S).round() * EXPOSURE_GRAIN_S;
        }
    }

    /// Deaths and exposure (in seconds) from a bin on.
    #[must_use]
    pub fn from(&self, bin: usize) -> (f64, f64) {
        let deaths = self.deaths.iter().skip(bin).map(|&deaths| f64::from(deaths)).sum();
        (deaths, self.exposure_s.iter().skip(bin.saturating_sub(FIRST_EXPOSED)).sum())
    }

    /// How many deaths are remembered.
    #[must_use]
    pub fn deaths(&self) -> f64 {
        self.deaths.iter().map(|&deaths| f64::from(deaths)).sum()
    }

    /// The median age at death, to a bin; `None` without any.
    #[must_use]
    pub fn median_s(&self) -> Option<f64> {
        let total = self.deaths();
        let mut below = 0.0;
        let bin = self.deaths.iter().position(|&deaths| {
            below += f64::from(deaths);
            below >= 0.5 * total
        });
        // The middle of the bin.
        bin.filter(|_| total > 0.0).map(|bin| EDGES_S[bin] * 10f64.powf(0.5 / BINS_PER_DECADE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn deaths_and_exposure_count_from_an_age_on() {
        let mut table = LifeTable::default();
        let mut ages = AgeHistogram::default();
        (0..10).for_each(|_| ages.insert(0));
        table.expose(&ages, 1, 50);
        table.record_death(0.0);
        table.record_death(12.0);
        table.record_death(1e9);
        let ten_s = 24;
        assert_eq!(edge_s(ten_s), 10.0);
        assert_eq!(table.from(ten_s), (2.0, 410.0));
        table.forget(0.5);
        assert_eq!(table.from(ten_s), (1.0, 205.0));
    }

    #[test]
    fn the_median_is_right_to_a_bin() {
        let mut table = LifeTable::default();
        assert_eq!(table.median_s(), None);
        (0..99).for_each(|_| table.record_death(0.3));
        table.record_death(50.0);
        assert!((0.2..0.5).contains(&table.median_s().unwrap()));
    }

    proptest! {
        #[test]
        fn seconds_add_up_alike_one_by_one_and_at_once(
            births in prop::collection::vec(0u32..3_000, 1..60),
            wait in 0u32..20_000,
            seconds in 1u32..5_000,
        ) {
            let mut ages = AgeHistogram::default();
            births.iter().for_each(|&born| ages.insert(born));
            ages.merge(3_000);
            let (from, to) = (1_000 + wait, 1_000 + wait + seconds);
            let (mut each, mut all) = (LifeTable::default(), LifeTable::default());
            for table in [&mut each, &mut all] {
                table.expose(&ages, 0, 700);
                table.forget(0.37);
            }
            (from..=to).for_each(|now| each.expose(&ages, now, now));
            all.expose(&ages, from, to);
            prop_assert_eq!(each.exposure_s, all.exposure_s);
        }
    }
}
