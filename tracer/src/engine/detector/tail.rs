//! Completed lifetimes in a form that forgets, for one question: their 99th percentile.

/// Bins of 1/6 decade from 1 ms to 10⁴·⁵ s.
const BINS: usize = 45;
const BINS_PER_DECADE: f64 = 6.0;
const SHORTEST_S: f64 = 1e-3;

/// A histogram of lifetimes with exponential forgetting.
#[derive(Clone, Debug)]
pub(super) struct Tail {
    bins: [f32; BINS],
    total: f64,
}

impl Default for Tail {
    fn default() -> Self {
        Self { bins: [0.0; BINS], total: 0.0 }
    }
}

impl Tail {
    pub(super) fn record(&mut self, lifetime_s: f64) {
        let decades = (lifetime_s / SHORTEST_S).max(1.0).log10();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not negative, and bounded next")]
        let bin = ((decades * BINS_PER_DECADE) as usize).min(BINS - 1);
        self.bins[bin] += 1.0;
        self.total += 1.0;
    }

    /// Multiplies what is remembered by `share`.
    pub(super) fn forget(&mut self, share: f64) {
        self.total *= share;
        #[expect(clippy::cast_possible_truncation, reason = "a share between 0 and 1")]
        let share = share as f32;
        for bin in &mut self.bins {
            *bin *= share;
        }
    }

    /// How many are remembered.
    pub(super) fn total(&self) -> f64 {
        self.total
    }

    /// Upper edge of the bin that holds the 99th percentile, in seconds.
    pub(super) fn p99_s(&self) -> f64 {
        let mut below = 0.0;
        let bin = self.bins.iter().position(|&bin| {
            below += f64::from(bin);
            below >= 0.99 * self.total
        });
        #[expect(clippy::cast_precision_loss, reason = "at most BINS")]
        let edge = (bin.unwrap_or(BINS - 1) + 1) as f64;
        SHORTEST_S * 10f64.powf(edge / BINS_PER_DECADE)
    }
}

#[cfg(test)]
mod tests {
    use super::Tail;

    #[test]
    fn the_percentile_is_right_to_a_bin() {
        let mut tail = Tail::default();
        for _ in 0..985 {
            tail.record(0.01);
        }
        for _ in 0..15 {
            tail.record(2.0);
        }
        assert!((2.0..4.0).contains(&tail.p99_s()), "{}", tail.p99_s());
        tail.forget(0.5);
        assert!((tail.total() - 500.0).abs() < 1e-6);
    }

    #[test]
    fn extremes_fall_into_the_outer_bins() {
        let mut tail = Tail::default();
        tail.record(0.0);
        assert!(tail.p99_s() < 2e-3);
        tail.record(1e9);
        assert!(tail.p99_s() > 3e4);
    }
}
