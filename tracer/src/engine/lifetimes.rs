//! How long released ports were held.

use super::report::LifetimeReport;
use hdrhistogram::Histogram;

/// Completed lifetimes of one owner, in microseconds, to 1 %.
#[derive(Clone, Debug, Default)]
pub(super) struct Lifetimes {
    /// Made with the first release: most owners of a busy machine are short-lived.
    histogram: Option<Histogram<u32>>,
}

impl Lifetimes {
    pub(super) fn record(&mut self, lifetime_ns: u64) {
        if self.histogram.is_none() {
            self.histogram = Histogram::new(2).ok();
        }
        if let Some(histogram) = &mut self.histogram {
            // An auto-resizing histogram takes every value.
            let _ = histogram.record((lifetime_ns / 1_000).max(1));
        }
    }

    pub(super) fn report(&self) -> LifetimeReport {
        let Some(histogram) = &self.histogram else {
            return LifetimeReport::default();
        };
        let seconds = |micros: u64| Some(micros as f64 / 1e6);
        let at = |quantile| seconds(histogram.value_at_quantile(quantile));
        LifetimeReport {
            count: histogram.len(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            max: seconds(histogram.max()),
        }
    }
}
