//! What the flow of the last seconds shows: whether it grows, and since when.

use crate::engine::detector::features::{Flow, Flows};
use crate::engine::detector::{Growing, Second};

/// Whether more is acquired than released right now, in more than one second.
pub(super) fn grows(flows: &Flows, t: &Growing) -> bool {
    let slow = || outpaces(flows, t.slow_span_s, t.slow_net, t.slow_seconds_min, t.kept_share);
    !cannot_grow(flows, t) && (quick(flows, t) || slow())
}

fn quick(flows: &Flows, t: &Growing) -> bool {
    outpaces(flows, t.span_s, t.net, t.seconds_min, t.kept_share)
}

/// Whether it cannot grow before the next acquisition, however many releases fall out of the span.
pub(super) fn cannot_grow(flows: &Flows, t: &Growing) -> bool {
    i64::from(flows.acquired_lately()) < t.net.min(t.slow_net)
}

fn outpaces(flows: &Flows, span_s: u32, net_min: i64, seconds_min: usize, kept_share: f64) -> bool {
    let (mut net, mut acquired, mut growing) = (0, 0, 0);
    for flow in flows.last(span_s) {
        net += flow.net();
        acquired += i64::from(flow.acquired);
        growing += usize::from(flow.net() > 0);
    }
    net >= net_min && net as f64 >= kept_share * acquired as f64 && growing >= seconds_min
}

/// By how much more ports there are than so many seconds ago, if there was growth in the last of
/// them and in all others but `pauses_max`.
pub(super) fn steady_growth(flows: &Flows, seconds: u32, pauses_max: usize) -> Option<f64> {
    let last = flows.last(seconds).map(Flow::net);
    let known = last.clone().count() >= seconds as usize;
    let growing = last.clone().next().is_some_and(|net| net > 0);
    let pauses = last.clone().skip(1).filter(|&net| net <= 0).count();
    (known && growing && pauses <= pauses_max).then(|| last.sum::<i64>() as f64)
}

/// Net growth in ports a second over the recent past.
pub(super) fn rate_per_s(flows: &Flows, t: &Growing) -> f64 {
    let last = flows.last(t.rate_span_s).map(Flow::net);
    (last.clone().sum::<i64>() as f64 / last.count().max(1) as f64).max(0.0)
}

/// A stretch in which more was acquired than released.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stretch {
    pub(super) since: Second,
    /// Totals of the series when it began.
    acquired: u64,
    released: u64,
    last_growth: Second,
}

impl Stretch {
    /// Follows the flow: a stretch begins with growth and ends when there was none for a while.
    ///
    /// `grows` is what [`grows`] said of this second; it also goes on while holds are found to stay.
    pub(super) fn follow(
        before: Option<Self>,
        flows: &Flows,
        now: Second,
        (grows, stays): (bool, bool),
        t: &Growing,
    ) -> Option<Self> {
        match before {
            Some(stretch) if grows || stays => Some(Self { last_growth: now, ..stretch }),
            Some(stretch) => (now <= stretch.last_growth.saturating_add(t.calm_s)).then_some(stretch),
            None => grows.then(|| Self::begin(flows, now, t)),
        }
    }

    /// Growth is noticed after some seconds; it began with the first of them that grew.
    fn begin(flows: &Flows, now: Second, t: &Growing) -> Self {
        let span_s = if quick(flows, t) { t.span_s } else { t.slow_span_s };
        let grew = flows.last(span_s).zip(1..).filter(|(flow, _)| flow.net() > 0);
        let since = now.saturating_sub(grew.map(|(_, ago)| ago).max().unwrap_or_default());
        let (acquired, released) = flows.last(now - since).fold((0, 0), |(acquired, released), flow| {
            (acquired + u64::from(flow.acquired), released + u64::from(flow.released))
        });
        Self {
            since,
            acquired: flows.acquired().saturating_sub(acquired),
            released: flows.released().saturating_sub(released),
            last_growth: now,
        }
    }

    /// Ports acquired in it.
    pub(super) fn acquired(&self, flows: &Flows) -> f64 {
        flows.acquired().saturating_sub(self.acquired) as f64
    }

    /// Ports released in it.
    pub(super) fn released(&self, flows: &Flows) -> f64 {
        flows.released().saturating_sub(self.released) as f64
    }
}
