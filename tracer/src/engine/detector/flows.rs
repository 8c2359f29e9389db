//! Acquisitions and releases of the last minute, second by second.

use super::Second;
use super::thresholds::{GROWING_CALM, GROWING_NET, GROWING_NET_SLOW, GROWING_SPAN, GROWING_SPAN_SLOW};
use std::collections::VecDeque;

/// How many recent seconds are kept.
const SECONDS: usize = 64;
/// Seconds over which the net rate is measured.
const RATE_SPAN: usize = 30;

/// Acquisitions and releases of one second.
#[derive(Clone, Copy, Debug, Default)]
struct Flow {
    acquired: u16,
    released: u16,
}

impl Flow {
    fn net(self) -> i64 {
        i64::from(self.acquired) - i64::from(self.released)
    }
}

/// A stretch in which more was acquired than released.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) since: Second,
    pub(super) acquired: u64,
    pub(super) released: u64,
    last_growth: Second,
}

/// The last minute.
#[derive(Clone, Debug, Default)]
pub(super) struct Flows {
    /// Oldest first; the last is the present second.
    recent: VecDeque<Flow>,
    /// The present stretch of growth.
    pub(super) run: Option<Run>,
}

impl Flows {
    pub(super) fn acquire(&mut self) {
        let now = self.now();
        now.acquired = now.acquired.saturating_add(1);
        if let Some(run) = &mut self.run {
            run.acquired += 1;
        }
    }

    pub(super) fn release(&mut self) {
        let now = self.now();
        now.released = now.released.saturating_add(1);
        if let Some(run) = &mut self.run {
            run.released += 1;
        }
    }

    fn now(&mut self) -> &mut Flow {
        if self.recent.is_empty() {
            self.recent.push_back(Flow::default());
        }
        let last = self.recent.len() - 1;
        &mut self.recent[last]
    }

    /// The next second begins.
    pub(super) fn next(&mut self) {
        self.recent.push_back(Flow::default());
        if self.recent.len() > SECONDS {
            self.recent.pop_front();
        }
    }

    /// Whether nothing moved in the last minute.
    pub(super) fn is_still(&self) -> bool {
        self.recent.iter().all(|flow| flow.acquired == 0 && flow.released == 0)
    }

    /// Whether allocation outpaces release right now, in more than one second.
    pub(super) fn grows(&self) -> bool {
        self.outpaces(GROWING_SPAN, GROWING_NET) || self.outpaces(GROWING_SPAN_SLOW, GROWING_NET_SLOW)
    }

    fn outpaces(&self, span: u32, net_min: i64) -> bool {
        let recent = || self.recent.iter().rev().take(span as usize);
        let net: i64 = recent().map(|flow| flow.net()).sum();
        let acquired: i64 = recent().map(|flow| i64::from(flow.acquired)).sum();
        let growing_seconds = recent().filter(|flow| flow.net() > 0).count();
        let spread = growing_seconds >= if span > GROWING_SPAN { 5 } else { 2 };
        net >= net_min && net * 5 >= acquired && spread
    }

    /// By how much more ports there are than so many seconds ago, if there was growth in every one
    /// of them but for one: machines stutter.
    pub(super) fn steady_growth(&self, seconds: u32) -> Option<f64> {
        let mut recent = self.recent.iter().rev().take(seconds as usize).map(|flow| flow.net());
        let net: i64 = recent.clone().sum();
        let steady = self.recent.len() >= seconds as usize
            && recent.next().is_some_and(|net| net > 0)
            && recent.filter(|&net| net <= 0).count() <= 1;
        steady.then_some(net as f64)
    }

    /// Keeps the stretch of growth: it begins with growth and ends when there was none for a while.
    pub(super) fn follow(&mut self, now: Second, stays: bool) {
        let grows = self.grows();
        match &mut self.run {
            Some(run) if grows || stays => run.last_growth = now,
            Some(run) if now > run.last_growth + GROWING_CALM => self.run = None,
            Some(_) => {}
            None if grows => self.run = Some(self.begin(now)),
            None => {}
        }
    }

    /// Growth is noticed after some seconds; it began with the first of them that grew.
    fn begin(&self, now: Second) -> Run {
        let span = if self.outpaces(GROWING_SPAN, GROWING_NET) { GROWING_SPAN } else { GROWING_SPAN_SLOW };
        let lately = self.recent.iter().rev().take(span as usize);
        let grew = lately.zip(1..).filter(|(flow, _)| flow.net() > 0);
        let since = now.saturating_sub(grew.map(|(_, seconds_ago)| seconds_ago).max().unwrap_or_default());
        let flows = self.recent.iter().rev().take((now - since) as usize);
        let (acquired, released) =
            flows.fold((0, 0), |(a, r), flow| (a + u64::from(flow.acquired), r + u64::from(flow.released)));
        Run { since, acquired, released, last_growth: now }
    }

    /// Ports more a second, over the recent past.
    pub(super) fn rate_per_s(&self) -> f64 {
        if self.run.is_none() {
            return 0.0;
        }
        let recent = || self.recent.iter().rev().take(RATE_SPAN);
        let net: i64 = recent().map(|flow| flow.net()).sum();
        (net as f64 / recent().count().max(1) as f64).max(0.0)
    }
}
