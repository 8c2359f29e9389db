//! Findings as JSON: `finding`, `exhausted`, `half_used`, `scarce`, `lost`, `corrected`.

use super::owner::{EvidenceJson, OwnerJson};
use super::pool::netns;
use crate::engine::report::{Finding, Owner};
use crate::sink::context::Context;
use serde::Serialize;

/// The body of a finding; the line's `type` says which one it is.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum FindingJson<'a> {
    Verdict {
        owner: OwnerJson<'a>,
        verdict: &'static str,
        previous: &'static str,
        held: u64,
        evidence: Vec<EvidenceJson>,
    },
    Exhausted {
        owner: OwnerJson<'a>,
        netns: Option<u32>,
        protocol: String,
        local: Option<String>,
        remote: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        errno: Option<&'static str>,
        /// Windows has no errno: NTSTATUS, as `0xC0000209`.
        #[serde(skip_serializing_if = "Option::is_none")]
        status: Option<String>,
        top_holders: Vec<HolderJson<'a>>,
    },
    Scarce {
        netns: Option<u32>,
        protocol: String,
        count: u64,
        top_holders: Vec<HolderJson<'a>>,
    },
    /// Of the ports to `remote`, `used` of `usable` are used, TIME_WAIT included.
    HalfUsed {
        owner: OwnerJson<'a>,
        netns: Option<u32>,
        protocol: String,
        remote: String,
        used: u64,
        usable: u64,
    },
    Lost {
        count: u64,
        stage: &'static str,
    },
    Corrected {
        count: u64,
    },
}

#[derive(Debug, Serialize)]
pub(super) struct HolderJson<'a> {
    owner: OwnerJson<'a>,
    held: u64,
}

impl<'a> HolderJson<'a> {
    fn all(holders: &'a [(Owner, u64)], context: &Context) -> Vec<Self> {
        let one =
            |(owner, held): &'a (Owner, u64)| Self { owner: OwnerJson::of(owner, context), held: *held };
        holders.iter().map(one).collect()
    }
}

/// The line's `type`, and when it happened.
pub(super) fn head(finding: &Finding) -> (&'static str, u64) {
    match finding {
        Finding::Verdict { at_ns, .. } => ("finding", *at_ns),
        Finding::Exhausted { at_ns, .. } => ("exhausted", *at_ns),
        Finding::HalfUsed { at_ns, .. } => ("half_used", *at_ns),
        Finding::Scarce { at_ns, .. } => ("scarce", *at_ns),
        Finding::Lost { at_ns, .. } => ("lost", *at_ns),
        Finding::Corrected { at_ns, .. } => ("corrected", *at_ns),
    }
}

impl<'a> FindingJson<'a> {
    pub(super) fn of(finding: &'a Finding, context: &Context) -> Self {
        match finding {
            Finding::Verdict { at_ns, owner, previous, verdict, held, evidence } => Self::Verdict {
                owner: OwnerJson::of(owner, context),
                verdict: verdict.name(),
                previous: previous.name(),
                held: *held,
                evidence: EvidenceJson::all(evidence, context, *at_ns),
            },
            Finding::Exhausted { owner, pool, code, local, remote, top_holders, .. } => Self::Exhausted {
                owner: OwnerJson::of(owner, context),
                netns: netns(pool.netns),
                protocol: pool.protocol.to_string(),
                local: local.map(|local| local.to_string()),
                remote: remote.map(|remote| remote.to_string()),
                errno: code.status().is_none().then_some(code.name()),
                status: code.status().map(|status| format!("{status:#010X}").replace("0X", "0x")),
                top_holders: HolderJson::all(top_holders, context),
            },
            Finding::Scarce { pool, count, top_holders, .. } => Self::Scarce {
                netns: netns(pool.netns),
                protocol: pool.protocol.to_string(),
                count: *count,
                top_holders: HolderJson::all(top_holders, context),
            },
            Finding::HalfUsed { owner, pool, remote, used, usable, .. } => Self::HalfUsed {
                owner: OwnerJson::of(owner, context),
                netns: netns(pool.netns),
                protocol: pool.protocol.to_string(),
                remote: remote.to_string(),
                used: *used,
                usable: *usable,
            },
            Finding::Lost { count, stage, .. } => Self::Lost { count: *count, stage: stage.name() },
            Finding::Corrected { count, .. } => Self::Corrected { count: *count },
        }
    }
}
