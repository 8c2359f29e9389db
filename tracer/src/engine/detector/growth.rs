//! Growth: whether those that stay keep being added, and since when.

use super::Second;
use super::age_histogram::AgeHistogram;

/// Spans looked at are this many times as long as the one before.
const SPAN_STEP: f64 = 1.3;
/// Each part of a span has at least this share of what it would have if growth were even.
const EVEN_SHARE: f64 = 0.25;
/// A pause this many times as long as the mean gap ends growth.
const PAUSE_GAPS: f64 = 3.0;
/// But not one of so many seconds: machines stutter.
const PAUSE_MIN_S: f64 = 5.0;
/// How many there must be for a span to be divided into so many parts.
const BY_PARTS: [(f64, u32); 3] = [(12.0, 4), (8.0, 3), (3.0, 2)];
/// Fewer than fill four parts are even if no gap between two is so many times the mean one.
const GAPS_MAX: f64 = 4.0;

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

/// The longest even growth of those that have reached an age; it goes on.
///
/// ```text
///        from                         to = now - age        now
/// ────────┼────────┼────────┼────────┼─────────────────────┼
///         some     some     some     some      and lately (of any age)
/// ```
pub(super) fn longest(ages: &AgeHistogram, now: Second, age_s: f64, span_min_s: f64) -> Option<Growth> {
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
        let patience = (PAUSE_GAPS * span / growth.count).max(PAUSE_MIN_S);
        if pause <= patience && is_even(ages, &growth) {
            return Some(growth);
        }
        span /= SPAN_STEP;
    }
    None
}

fn is_even(ages: &AgeHistogram, growth: &Growth) -> bool {
    let Some(&(_, parts)) = BY_PARTS.iter().find(|&&(count, _)| growth.count >= count) else {
        return false;
    };
    let few = parts < BY_PARTS[0].1;
    if few && ages.gap_max(growth.from, growth.to) > GAPS_MAX * (growth.to - growth.from) / growth.count {
        return false;
    }
    let width = (growth.to - growth.from) / f64::from(parts);
    let least = EVEN_SHARE * growth.count / f64::from(parts);
    (0..parts).all(|part| {
        let from = growth.from + f64::from(part) * width;
        ages.born_between(from, from + width) >= least
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ages(births: impl IntoIterator<Item = Second>, now: Second) -> AgeHistogram {
        let mut ages = AgeHistogram::default();
        births.into_iter().for_each(|born| ages.insert(born));
        ages.merge(now);
        ages
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
