//! The ages from which on holds are examined.

use crate::engine::detector::features::life_table::{BINS, edge_s};
use crate::engine::detector::{Second, Survival};

/// Every second bin of the life table: 1/3 decade.
const BINS_APART: usize = 2;
/// Edges are powers of ten with rounding errors.
const ROUNDING: f64 = 1.001;

/// An age, and the bin of the life table that begins there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Tier {
    pub(super) bin: usize,
    pub(super) age_s: f64,
    /// In whole seconds, rounded up.
    pub(super) whole_s: Second,
}

/// The tiers between two ages, youngest first: 4.6 s, 10 s, 22 s, … 1,000 s.
pub(super) fn tiers(t: &Survival) -> Vec<Tier> {
    let first = (0..BINS).find(|&bin| edge_s(bin) * ROUNDING >= t.age_min_s).unwrap_or(BINS - 1);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 21,545")]
    let tier = |bin| Tier { bin, age_s: edge_s(bin), whole_s: edge_s(bin).ceil() as Second };
    (first..BINS)
        .step_by(BINS_APART)
        .map(tier)
        .take_while(|tier| tier.age_s <= t.age_max_s * ROUNDING)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Profile;
    use crate::engine::detector::Thresholds;

    #[test]
    fn ages_go_from_five_seconds_to_a_quarter_of_an_hour() {
        let tiers = tiers(&Thresholds::of(Profile::Session).survival);
        let whole: Vec<Second> = tiers.iter().map(|tier| tier.whole_s).collect();
        assert_eq!(whole, [5, 10, 22, 47, 100, 216, 465, 1_000]);
        assert_eq!((tiers[0].bin, tiers[7].bin), (22, 36));
    }
}
