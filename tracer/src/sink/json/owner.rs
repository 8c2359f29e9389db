//! Owners and the evidence against them, as JSON.

use super::pool::netns;
use super::round;
use crate::engine::report::{Evidence, Owner, SiteShare};
use crate::event::{OwnerId, ProcessFacts, ProcessId, ProgramId};
use crate::sink::context::Context;
use crate::sink::evidence_text;
use serde::Serialize;

/// Frames of a call site that are shown. The program's own frames may lie far below those of its
/// HTTP client, and inlined functions add to them.
const FRAMES_MAX: usize = 64;

/// An owner; `kind` says what it is.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(super) enum OwnerJson<'a> {
    Process(ProcessJson<'a>),
    Program(ProgramJson<'a>),
    /// Processes that are no longer kept one by one: of a program, or of all.
    Others {
        program: Option<ProgramJson<'a>>,
    },
    System {
        module: Option<&'a str>,
        netns: Option<u32>,
    },
    Unowned,
}

#[derive(Debug, Serialize)]
pub(super) struct ProcessJson<'a> {
    pid: u32,
    started: Option<String>,
    comm: Option<&'a str>,
    exe: Option<&'a str>,
    cmdline: Option<&'a str>,
    uid: Option<u32>,
    ppid: Option<u32>,
    service: Option<&'a str>,
    container: Option<&'a str>,
    cgroup: Option<&'a str>,
    netns: Option<u32>,
}

/// All processes of one program.
#[derive(Debug, Serialize)]
pub(super) struct ProgramJson<'a> {
    exe: &'a str,
    comm: Option<&'a str>,
    service: Option<&'a str>,
    container: Option<&'a str>,
}

impl<'a> OwnerJson<'a> {
    pub(super) fn of(owner: &'a Owner, context: &Context) -> Self {
        match &owner.id {
            OwnerId::Process(id) => Self::Process(ProcessJson::of(*id, owner.facts.as_ref(), context)),
            OwnerId::System { module, netns: ns } => {
                Self::System { module: module.as_deref(), netns: netns(*ns) }
            }
            OwnerId::Program(id) => Self::Program(ProgramJson::of(id, owner.facts.as_ref())),
            OwnerId::Others(id) => {
                Self::Others { program: id.as_ref().map(|id| ProgramJson::of(id, owner.facts.as_ref())) }
            }
            OwnerId::Unowned => Self::Unowned,
        }
    }
}

impl<'a> ProgramJson<'a> {
    fn of(id: &'a ProgramId, facts: Option<&'a ProcessFacts>) -> Self {
        Self {
            exe: &id.exe,
            comm: facts.map(|f| &*f.comm).filter(|comm| !comm.is_empty()),
            service: facts.and_then(|f| f.service.as_deref()),
            container: facts.and_then(|f| f.container.as_deref()),
        }
    }
}

impl<'a> ProcessJson<'a> {
    fn of(id: ProcessId, facts: Option<&'a ProcessFacts>, context: &Context) -> Self {
        Self {
            pid: id.pid,
            started: context.started(id.started_ticks),
            comm: facts.map(|f| &*f.comm).filter(|comm| !comm.is_empty()),
            exe: facts.and_then(|f| f.exe.as_deref()),
            cmdline: facts.and_then(|f| f.cmdline.as_deref()),
            uid: facts.and_then(|f| f.uid),
            ppid: facts.and_then(|f| f.ppid),
            service: facts.and_then(|f| f.service.as_deref()),
            container: facts.and_then(|f| f.container.as_deref()),
            cgroup: facts.and_then(|f| f.cgroup.as_deref()),
            netns: facts.and_then(|f| f.netns).and_then(netns),
        }
    }
}

/// One piece of evidence.
#[derive(Debug, Serialize)]
pub(super) struct EvidenceJson {
    kind: &'static str,
    protocol: String,
    since: String,
    held: u64,
    rate_per_s: f64,
    released_share: f64,
    exhaustion_in_s: Option<f64>,
    exhaustion_between_s: Option<[f64; 2]>,
    oldest_held_since: Option<String>,
    usual: Option<UsualJson>,
    abandoned: Option<AbandonedJson>,
    processes: Option<u64>,
    remote: Option<String>,
    call_site: Option<CallSiteJson>,
    text: String,
}

impl EvidenceJson {
    pub(super) fn all(evidence: &[Evidence], context: &Context, now_ns: u64) -> Vec<Self> {
        let one = |e| Self::of(e, evidence_text::evidence(e, context, now_ns), context);
        evidence.iter().map(one).collect()
    }

    fn of(evidence: &Evidence, text: String, context: &Context) -> Self {
        Self {
            kind: evidence.kind.name(),
            protocol: evidence.protocol.to_string(),
            since: context.rfc3339(evidence.since_ns),
            held: evidence.held,
            rate_per_s: rate(evidence.rate_per_s),
            released_share: round(evidence.released_share, 1e4),
            exhaustion_in_s: evidence.exhaustion_in_s.map(|s| round(s, 1e1)),
            exhaustion_between_s: evidence.exhaustion_between_s.map(|(a, b)| [round(a, 1e1), round(b, 1e1)]),
            oldest_held_since: evidence.oldest_ns.map(|ns| context.rfc3339(ns)),
            usual: evidence
                .usual
                .map(|u| UsualJson { share: round(u.share, 1e4), life_s: round(u.life_s, 1e6) }),
            abandoned: evidence.abandoned.map(|(abandoned, of)| AbandonedJson { abandoned, of }),
            processes: evidence.processes,
            remote: evidence.remote.map(|remote| remote.to_string()),
            call_site: evidence.site.as_ref().map(|share| CallSiteJson::of(share, context)),
            text,
        }
    }
}

/// How long the other ports to the same destination live.
#[derive(Debug, Serialize)]
struct UsualJson {
    share: f64,
    life_s: f64,
}

/// Connections that are idle, of those that were sampled.
#[derive(Debug, Serialize)]
struct AbandonedJson {
    abandoned: u32,
    of: u32,
}

/// The call site that acquired most of the ports.
#[derive(Debug, Serialize)]
pub(super) struct CallSiteJson {
    frames: Vec<String>,
    held: u64,
    of: u64,
}

impl CallSiteJson {
    fn of(share: &SiteShare, context: &Context) -> Self {
        let frames = context.names(share).iter().take(FRAMES_MAX).map(ToString::to_string).collect();
        Self { frames, held: share.held, of: share.of }
    }
}

/// Two decimals, but a leak of one port an hour must not become zero.
fn rate(per_s: f64) -> f64 {
    round(per_s, if per_s.abs() < 1.0 { 1e6 } else { 1e2 })
}
