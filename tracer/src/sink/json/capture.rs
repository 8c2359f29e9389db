//! What a source can capture, as JSON.

use super::{PoolJson, seconds};
use crate::event::{Capture, Degradation, Hook, Incomplete};
use crate::sink::{Completeness, LoopLag};
use serde::Serialize;

/// The body of `start`.
#[derive(Debug, Serialize)]
pub(super) struct StartJson<'a> {
    capture: CaptureJson<'a>,
    pools: Vec<PoolJson>,
}

impl<'a> StartJson<'a> {
    pub(super) fn of(capture: &'a Capture) -> Self {
        Self { capture: CaptureJson::of(capture), pools: PoolJson::known_at_start(capture) }
    }
}

/// The platform and what works on it.
#[derive(Debug, Serialize)]
pub struct CaptureJson<'a> {
    platform: &'a str,
    kernel: &'a str,
    hooks: Vec<HookJson<'a>>,
    degraded: Vec<DegradationJson<'a>>,
}

impl<'a> CaptureJson<'a> {
    /// The JSON of `capture`.
    #[must_use]
    pub fn of(capture: &'a Capture) -> Self {
        Self {
            platform: &capture.platform,
            kernel: &capture.kernel,
            hooks: HookJson::all(capture),
            degraded: DegradationJson::all(capture),
        }
    }
}

/// One hook.
#[derive(Debug, Serialize)]
pub struct HookJson<'a> {
    name: &'a str,
    state: &'static str,
    why: Option<&'a str>,
}

impl<'a> HookJson<'a> {
    /// All of them.
    #[must_use]
    pub fn all(capture: &'a Capture) -> Vec<Self> {
        capture.hooks.iter().map(Self::of).collect()
    }

    fn of(hook: &'a Hook) -> Self {
        Self {
            name: &hook.name,
            state: if hook.off_because.is_none() { "on" } else { "off" },
            why: hook.off_because.as_deref(),
        }
    }
}

/// One limited feature.
#[derive(Debug, Serialize)]
pub struct DegradationJson<'a> {
    feature: &'a str,
    why: &'a str,
    remedy: &'a str,
}

impl<'a> DegradationJson<'a> {
    /// All of them.
    #[must_use]
    pub fn all(capture: &'a Capture) -> Vec<Self> {
        capture.degraded.iter().map(Self::of).collect()
    }

    fn of(degradation: &'a Degradation) -> Self {
        Self { feature: &degradation.feature, why: &degradation.why, remedy: &degradation.remedy }
    }
}

/// One thing that is missing.
#[derive(Debug, Serialize)]
pub(super) struct IncompleteJson<'a> {
    what: &'a str,
    count: u64,
    remedy: &'a str,
}

impl<'a> IncompleteJson<'a> {
    pub(super) fn all(completeness: &'a Completeness) -> Vec<Self> {
        let one = |it: &'a Incomplete| Self { what: &it.what, count: it.count, remedy: &it.remedy };
        completeness.incomplete.iter().map(one).collect()
    }
}

/// How late the event loop was, in seconds.
#[derive(Debug, Serialize)]
pub struct LoopLagJson {
    p99: f64,
    max: f64,
}

impl LoopLagJson {
    /// The JSON of `lag`.
    #[must_use]
    pub fn of(lag: LoopLag) -> Self {
        Self { p99: seconds(lag.p99_s), max: seconds(lag.max_s) }
    }
}
