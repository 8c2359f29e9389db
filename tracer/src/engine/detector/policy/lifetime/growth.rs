//! Growth: whether those that stay keep being added, and since when.

use crate::engine::detector::features::AgeHistogram;
use crate::engine::detector::{Second, Shape};

/// A span in which those that stay were born, none of its parts without.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Growth {
    pub(super) from: f64,
    pub(super) to: f64,
    /// How many stay of those born in it.
    pub(super) count: f64,
}

impl Growth {
    pub(super) fn rate_per_s(&self) -> f64 {
        self.count / (self.to - self.from)
    }

    /// Seconds from its beginning until now.
    pub(super) fn lasted_s(&self, now: Second) -> f64 {
        f64::from(now) - self.from
    }
}

/// The longest even growth of holds that have reached an age, if it goes on.
///
/// ```text
///        from                         to = now - age        now
/// ────────┼────────┼────────┼────────┼─────────────────────┼
///         some     some     some     some      and lately (of any age)
/// ```
pub(super) fn longest(
    ages: &AgeHistogram,
    now: Second,
    age_s: f64,
    span_min_s: f64,
    shape: &Shape,
) -> Option<Growth> {
    let to = f64::from(now) - age_s.ceil();
    let oldest = f64::from(ages.oldest()?);
    let newest = f64::from(ages.newest()?) + 1.0;
    let full = to - oldest;
    // Its last part is empty if none was born for so long.
    let pause = f64::from(now) - newest;
    let shortest = span_min_s.max(2.0 * (pause - age_s));
    let mut span = full;
    while span >= shortest && span > 0.0 {
        let growth = Growth { from: to - span, to, count: ages.born_between(to - span, to) };
        let patience = (shape.pause_gaps * span / growth.count).max(shape.pause_min_s);
        if pause <= patience && is_even(ages, &growth, shape) {
            return Some(growth);
        }
        span /= shape.span_step;
    }
    None
}

/// Whether no part of the span is without births.
fn is_even(ages: &AgeHistogram, growth: &Growth, shape: &Shape) -> bool {
    let parts = match growth.count {
        count if count >= shape.four_parts_from => 4,
        count if count >= shape.three_parts_from => 3,
        count if count >= shape.two_parts_from => 2,
        _ => return false,
    };
    if parts < 4
        && ages.gap_max(growth.from, growth.to) > shape.gaps_max * (growth.to - growth.from) / growth.count
    {
        return false;
    }
    let width = (growth.to - growth.from) / f64::from(parts);
    let least = shape.even_share * growth.count / f64::from(parts);
    (0..parts).all(|part| {
        let from = growth.from + f64::from(part) * width;
        ages.born_between(from, from + width) >= least
    })
}

/// Whether no age up to this one can show growth again before the next birth: the pause is longer
/// than half of any span that could be found (`shortest` in [`longest`]).
pub(super) fn is_over(ages: &AgeHistogram, now: Second, age_s: Second) -> bool {
    let (Some(oldest), Some(newest)) = (ages.oldest(), ages.newest()) else {
        return true;
    };
    u64::from(now) + u64::from(oldest) > 2 * u64::from(newest) + 2 + u64::from(age_s)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Profile;
    use crate::engine::detector::Thresholds;

    fn longest(ages: &AgeHistogram, now: Second, age_s: f64, span_min_s: f64) -> Option<Growth> {
        let shape = Thresholds::of(Profile::Session).shape;
        super::longest(ages, now, age_s, span_min_s, &shape)
    }

    fn ages(births: impl IntoIterator<Item = Second>, now: Second) -> AgeHistogram {
        AgeHistogram::of(births, now)
    }

    #[test]
    fn growth_goes_back_to_its_beginning() {
        let growth = longest(&ages(100..200, 200), 200, 10.0, 8.0).unwrap();
        assert_eq!((growth.from, growth.to), (100.0, 190.0));
        assert!((growth.rate_per_s() - 1.0).abs() < 0.05);
    }

    #[test]
    fn what_was_there_long_before_is_no_part_of_it() {
        let pool = std::iter::repeat_n(10, 200);
        let growth = longest(&ages(pool.chain((600..900).step_by(6)), 900), 900, 10.0, 8.0).unwrap();
        assert!((560.0..640.0).contains(&growth.from), "{growth:?}");
    }

    #[test]
    fn it_ends_with_a_pause() {
        let grown = ages(100..200, 240);
        assert!(longest(&grown, 203, 10.0, 8.0).is_some());
        assert_eq!(longest(&grown, 240, 10.0, 8.0), None);
    }

    #[test]
    fn two_bursts_with_nothing_between_are_none() {
        assert_eq!(longest(&ages([0, 1, 1, 900, 901, 902], 910), 910, 5.0, 100.0), None);
        assert!(longest(&ages((0..6).map(|i| 180 * i), 910), 910, 5.0, 100.0).is_some());
    }

    #[test]
    fn a_burst_is_none() {
        let burst = ages(std::iter::repeat_n(100, 250).chain(std::iter::repeat_n(101, 250)), 130);
        assert_eq!(longest(&burst, 130, 10.0, 8.0), None);
    }
}
