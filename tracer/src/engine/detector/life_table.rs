//! The life table of a series: at which age holds end, and how long they were watched at that age.
//!
//! Deaths over exposure is the hazard at an age, whatever the load: twice as many connections are
//! twice the deaths and twice the exposure. A leak is an age beyond which there is much exposure
//! and hardly a death.

use super::age_histogram::AgeHistogram;
use std::sync::LazyLock;

/// Bins of 1/6 decade from 1 ms to 10⁴·⁵ s.
const BINS: usize = 45;
const BINS_PER_DECADE: f64 = 6.0;
const SHORTEST_S: f64 = 1e-3;

/// Lower edges of the bins, in seconds.
static EDGES_S: LazyLock<[f64; BINS]> =
    LazyLock::new(|| std::array::from_fn(|bin| SHORTEST_S * 10f64.powf(bin as f64 / BINS_PER_DECADE)));

/// An age from which on holds may be looked at: a bin of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tier(usize);

/// 4.6 s, 10 s, 22 s, 46 s, 100 s, 215 s, 464 s, 1,000 s.
pub(super) const TIERS: [Tier; 8] =
    [Tier(22), Tier(24), Tier(26), Tier(28), Tier(30), Tier(32), Tier(34), Tier(36)];

impl Tier {
    pub(super) fn age_s(self) -> f64 {
        EDGES_S[self.0]
    }
}

/// Deaths and exposure by age, with forgetting.
#[derive(Clone, Debug)]
pub(super) struct LifeTable {
    deaths: [f32; BINS],
    exposure_s: [f32; BINS],
}

impl Default for LifeTable {
    fn default() -> Self {
        Self { deaths: [0.0; BINS], exposure_s: [0.0; BINS] }
    }
}

impl LifeTable {
    /// A hold ended at this age.
    pub(super) fn died(&mut self, age_s: f64) {
        let decades = (age_s / SHORTEST_S).max(1.0).log10();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not negative, bounded")]
        let bin = ((decades * BINS_PER_DECADE) as usize).min(BINS - 1);
        self.deaths[bin] += 1.0;
    }

    /// All that live, lived for a second.
    pub(super) fn lived(&mut self, ages: &AgeHistogram, now: u32) {
        let mut bin = BINS - 1;
        for (born, count) in ages.iter() {
            let age_s = f64::from(now.saturating_sub(born));
            while bin > 0 && EDGES_S[bin] > age_s {
                bin -= 1;
            }
            #[expect(clippy::cast_precision_loss, reason = "below 2^24 ports")]
            let count = count as f32;
            self.exposure_s[bin] += count;
        }
    }

    /// Multiplies what is remembered by `share`.
    pub(super) fn forget(&mut self, share: f32) {
        for value in self.deaths.iter_mut().chain(&mut self.exposure_s) {
            *value *= share;
        }
    }

    /// Deaths and exposure (in seconds) from an age on.
    pub(super) fn from(&self, tier: Tier) -> (f64, f64) {
        let sum = |bins: &[f32]| bins.iter().map(|&value| f64::from(value)).sum();
        (sum(&self.deaths[tier.0..]), sum(&self.exposure_s[tier.0..]))
    }

    /// How many deaths are remembered.
    pub(super) fn deaths(&self) -> f64 {
        self.deaths.iter().map(|&deaths| f64::from(deaths)).sum()
    }

    /// The median age at death, to a bin; `None` without any.
    pub(super) fn median_s(&self) -> Option<f64> {
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

    #[test]
    fn deaths_and_exposure_are_told_from_an_age_on() {
        let mut table = LifeTable::default();
        let mut ages = AgeHistogram::default();
        (0..10).for_each(|_| ages.insert(0));
        for now in 1..=50 {
            table.lived(&ages, now);
        }
        table.died(0.0);
        table.died(12.0);
        table.died(1e9);
        let (deaths, exposure_s) = table.from(TIERS[1]);
        assert_eq!((deaths, exposure_s), (2.0, 410.0), "from 10 s on");
        table.forget(0.5);
        assert_eq!(table.from(TIERS[1]), (1.0, 205.0));
    }

    #[test]
    fn the_median_is_right_to_a_bin() {
        let mut table = LifeTable::default();
        assert_eq!(table.median_s(), None);
        (0..99).for_each(|_| table.died(0.3));
        table.died(50.0);
        assert!((0.2..0.5).contains(&table.median_s().unwrap()));
    }
}
