//! How late the loop is: from the instant at which a batch was to be read until it is applied.

use crate::sink::LoopLag;
use hdrhistogram::Histogram;
use std::time::Duration;

/// The longest lag that is told apart from longer ones, in microseconds: an hour.
const LAG_MAX_US: u64 = 3_600_000_000;

/// The lags of a trace.
#[derive(Debug)]
pub(super) struct Lag(Option<Histogram<u32>>);

impl Lag {
    pub(super) fn new() -> Self {
        // The bounds are constants that it accepts.
        Self(Histogram::new_with_bounds(1, LAG_MAX_US, 2).ok())
    }

    pub(super) fn record(&mut self, lag: Duration) {
        if let Some(lags) = &mut self.0 {
            lags.saturating_record(u64::try_from(lag.as_micros()).unwrap_or(u64::MAX).max(1));
        }
    }

    /// `None` when nothing was recorded.
    pub(super) fn report(&self) -> Option<LoopLag> {
        let lags = self.0.as_ref().filter(|lags| !lags.is_empty())?;
        let seconds = |us: u64| us as f64 / 1e6;
        let max_s = seconds(lags.max());
        Some(LoopLag { p99_s: seconds(lags.value_at_quantile(0.99)).min(max_s), max_s })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_late_batch_in_a_thousand_is_the_maximum_only() {
        let mut lag = Lag::new();
        assert_eq!(lag.report(), None);
        (0..999).for_each(|_| lag.record(Duration::from_millis(2)));
        lag.record(Duration::from_secs(3));
        let report = lag.report().unwrap();
        assert!((0.002..0.0021).contains(&report.p99_s), "{report:?}");
        assert!((2.9..3.1).contains(&report.max_s), "{report:?}");
    }
}
