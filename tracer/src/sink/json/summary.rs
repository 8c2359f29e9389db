//! The summary, as JSON: the last line.

use super::capture::{IncompleteJson, LoopLagJson};
use super::owner::{EvidenceJson, OwnerJson};
use super::{DegradationJson, HookJson, PoolJson, seconds};
use crate::engine::report::{LifetimeReport, OwnerReport, ProtocolReport, Summary};
use crate::event::{Capture, FailureCode};
use crate::sink::Completeness;
use crate::sink::context::Context;
use serde::Serialize;
use std::collections::BTreeMap;

#[derive(Debug, Serialize)]
pub(super) struct SummaryJson<'a> {
    duration_s: f64,
    /// Owners whose counts are in the owners of kind `others`.
    folded: u64,
    capture: QualityJson<'a>,
    owners: Vec<ReportJson<'a>>,
    pools: Vec<PoolJson>,
}

/// How much was captured, and how complete it is.
#[derive(Debug, Serialize)]
struct QualityJson<'a> {
    events: u64,
    lost: u64,
    corrections: u64,
    hooks: Vec<HookJson<'a>>,
    degraded: Vec<DegradationJson<'a>>,
    /// `null` when a file was read.
    loop_lag_s: Option<LoopLagJson>,
    incomplete: Vec<IncompleteJson<'a>>,
}

#[derive(Debug, Serialize)]
struct ReportJson<'a> {
    owner: OwnerJson<'a>,
    tcp: TcpJson,
    udp: UdpJson,
    lifetime_s: LifetimeJson,
    oldest_held_s: Option<f64>,
    verdict: &'static str,
    evidence: Vec<EvidenceJson>,
}

#[derive(Debug, Serialize)]
struct TcpJson {
    #[serde(flatten)]
    counts: CountsJson,
    close_wait: u64,
    syn_sent: u64,
    time_wait: u64,
    failed: BTreeMap<&'static str, u64>,
}

#[derive(Debug, Serialize)]
struct UdpJson {
    #[serde(flatten)]
    counts: CountsJson,
    failed: BTreeMap<&'static str, u64>,
}

/// What both protocols have.
#[derive(Debug, Serialize)]
struct CountsJson {
    acquired: u64,
    released: u64,
    moved_in: u64,
    moved_out: u64,
    held: u64,
    held_bound_only: u64,
}

#[derive(Debug, Serialize)]
struct LifetimeJson {
    count: u64,
    p50: Option<f64>,
    p90: Option<f64>,
    p99: Option<f64>,
    max: Option<f64>,
}

impl<'a> SummaryJson<'a> {
    pub(super) fn of(
        summary: &'a Summary,
        completeness: &'a Completeness,
        capture: &'a Capture,
        context: &Context,
    ) -> Self {
        let report = |owner| ReportJson::of(owner, context, summary.at_ns);
        Self {
            duration_s: seconds(summary.duration_s),
            folded: summary.folded,
            capture: QualityJson {
                events: summary.events,
                lost: summary.lost,
                corrections: summary.corrections,
                hooks: HookJson::all(capture),
                degraded: DegradationJson::all(capture),
                loop_lag_s: completeness.loop_lag.map(LoopLagJson::of),
                incomplete: IncompleteJson::all(completeness),
            },
            owners: summary.owners.iter().map(report).collect(),
            pools: summary.pools.iter().map(PoolJson::of).collect(),
        }
    }
}

impl<'a> ReportJson<'a> {
    fn of(report: &'a OwnerReport, context: &Context, now_ns: u64) -> Self {
        let owner = &report.owner;
        Self {
            owner: OwnerJson::of(owner, context),
            tcp: TcpJson::of(&report.tcp),
            udp: UdpJson::of(&report.udp),
            lifetime_s: LifetimeJson::of(&report.lifetime),
            oldest_held_s: report.oldest_held_s.map(seconds),
            verdict: report.verdict.name(),
            evidence: EvidenceJson::all(&report.evidence, context, now_ns),
        }
    }
}

impl TcpJson {
    fn of(report: &ProtocolReport) -> Self {
        use FailureCode::{EADDRINUSE, EADDRNOTAVAIL};
        Self {
            counts: CountsJson::of(report),
            close_wait: report.close_wait,
            syn_sent: report.syn_sent,
            time_wait: report.time_wait,
            failed: failed(report, [EADDRNOTAVAIL, EADDRINUSE]),
        }
    }
}

impl UdpJson {
    fn of(report: &ProtocolReport) -> Self {
        use FailureCode::{EADDRINUSE, EAGAIN};
        Self { counts: CountsJson::of(report), failed: failed(report, [EAGAIN, EADDRINUSE]) }
    }
}

impl CountsJson {
    fn of(report: &ProtocolReport) -> Self {
        Self {
            acquired: report.acquired,
            released: report.released,
            moved_in: report.moved_in,
            moved_out: report.moved_out,
            held: report.held,
            held_bound_only: report.held_bound_only,
        }
    }
}

/// The failures that happened, and of `always` also those that did not.
fn failed(report: &ProtocolReport, always: [FailureCode; 2]) -> BTreeMap<&'static str, u64> {
    let zeros = always.iter().map(|code| (code.name(), 0));
    let counts = report.failed.iter().map(|(code, n)| (code.name(), *n));
    zeros.chain(counts).collect()
}

impl LifetimeJson {
    fn of(lifetime: &LifetimeReport) -> Self {
        Self {
            count: lifetime.count,
            p50: lifetime.p50.map(seconds),
            p90: lifetime.p90.map(seconds),
            p99: lifetime.p99.map(seconds),
            max: lifetime.max.map(seconds),
        }
    }
}
