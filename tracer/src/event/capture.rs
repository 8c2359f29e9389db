//! What a source can capture on this machine, and how to read its times.

use super::{PoolId, PortRange};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Maps a source's monotonic nanoseconds to wall time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// An instant on the source's clock, in nanoseconds.
    pub monotonic_ns: u64,
    /// The same instant in nanoseconds since 1970-01-01 UTC.
    pub unix_ns: i128,
}

impl Clock {
    /// Wall time of `at_ns`, in nanoseconds since 1970-01-01 UTC.
    #[must_use]
    pub fn unix_ns(&self, at_ns: u64) -> i128 {
        self.unix_ns + i128::from(at_ns) - i128::from(self.monotonic_ns)
    }
}

/// One hook and whether it works here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// The probe's name, as `bpftool prog` shows it.
    pub name: String,
    /// `None` when it is on; otherwise why it is off.
    pub off_because: Option<String>,
}

/// A feature that is limited on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Degradation {
    /// What is missing or inexact.
    pub feature: String,
    /// Why.
    pub why: String,
    /// What to do about it. Where nothing can or need be done it begins with "none needed".
    pub remedy: String,
}

impl Degradation {
    /// Whether the user can do something about it; if not, only `-v` shows it.
    #[must_use]
    pub fn is_actionable(&self) -> bool {
        !self.remedy.starts_with("none needed")
    }
}

/// Something that the trace could not determine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incomplete {
    /// What is missing.
    pub what: String,
    /// How often.
    pub count: u64,
    /// What to do about it.
    pub remedy: String,
}

/// Advice on this machine's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    /// The fact, one sentence.
    pub says: String,
    /// What to do about it, one sentence.
    pub remedy: String,
}

/// A question that only a test on the machine can answer, and the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The question.
    pub question: String,
    /// What was observed; `None` when nothing was.
    pub observed: Option<String>,
}

/// What a source can capture, known before its first event. Recordings begin with it: a field that is
/// added later needs a default, so that older recordings can be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capture {
    /// `linux` or `windows`.
    pub platform: String,
    /// The kernel's release.
    pub kernel: String,
    /// Every hook, on or off.
    pub hooks: Vec<Hook>,
    /// Every limited feature.
    pub degraded: Vec<Degradation>,
    /// How to read the events' times.
    pub clock: Clock,
    /// How many `started_ticks` make a second.
    pub ticks_per_s: u64,
    /// The pools known at the start.
    #[serde(with = "pairs")]
    pub pools: BTreeMap<PoolId, PortRange>,
}

/// A map as a list of pairs: JSON keys must be texts.
mod pairs {
    use super::{BTreeMap, PoolId, PortRange};
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        pools: &BTreeMap<PoolId, PortRange>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_seq(pools)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<BTreeMap<PoolId, PortRange>, D::Error> {
        Ok(Vec::deserialize(from)?.into_iter().collect())
    }
}
