//! A finding, the moment it happens: the time, the verdict, who, and the evidence.

use super::{TextOptions, data_quality};
use crate::engine::report::{Evidence, Finding, Owner, Verdict};
use crate::event::{FailureCode, LossStage, PoolId};
use crate::sink::context::Context;
use crate::sink::evidence_text;
use crate::sink::names::label;
use crate::sink::numbers::{count, counted};
use std::net::{IpAddr, SocketAddr};

/// Where the second line begins: under the verdict.
const INDENT: &str = "         ";

pub(super) fn text(finding: &Finding, context: &Context, options: &TextOptions) -> String {
    let (at_ns, said) = match finding {
        Finding::Verdict { at_ns, owner, previous, verdict, held, evidence } => {
            let facts = if evidence.is_empty() {
                changed(*previous, *held)
            } else {
                sentences(evidence, owner, context, *at_ns)
            };
            let name = options.paint.verdict(*verdict, &upper(*verdict));
            (*at_ns, format!("{name} {} {facts}", label(owner)))
        }
        Finding::Exhausted { at_ns, owner, pool, code, local, remote, top_holders } => {
            let verdict = Verdict::Exhausted;
            let name = options.paint.verdict(verdict, &upper(verdict));
            let refusal = refusal(*pool, *code, *local, *remote);
            let holders = holders(top_holders);
            (*at_ns, format!("{name} {} {refusal}{holders}", label(owner)))
        }
        Finding::HalfUsed { at_ns, owner, remote, used, usable, .. } => {
            let name = options.paint.warning("HALF USED");
            let (used, usable) = (count(*used), count(*usable));
            let figures = format!("{used} of {usable}; each connect takes longer from here on");
            (*at_ns, format!("{name} {} half of the ports to {remote} are used: {figures}", label(owner)))
        }
        Finding::Scarce { at_ns, pool, count, top_holders } => {
            let holders = holders(top_holders);
            (*at_ns, format!("{}{holders}", scarce(*pool, *count, options)))
        }
        Finding::Lost { at_ns, count, stage } => (*at_ns, lost(*count, *stage, options)),
        Finding::Corrected { at_ns, count } => (*at_ns, corrected(*count, options)),
    };
    format!("{} {said}\n", context.time_of_day(at_ns, at_ns))
}

/// `SUSPECTED`.
pub(super) fn upper(verdict: Verdict) -> String {
    verdict.name().to_ascii_uppercase()
}

fn changed(previous: Verdict, held: u64) -> String {
    format!("was {}; holds {} now", previous.name(), counted(held, "port"))
}

fn sentences(evidence: &[Evidence], owner: &Owner, context: &Context, now_ns: u64) -> String {
    let sentence = |e| evidence_text::evidence(e, owner, context, now_ns);
    let sentences: Vec<String> = evidence.iter().map(sentence).collect();
    sentences.join(&format!("\n{INDENT}"))
}

/// `found no TCP port to 127.0.0.1:9999: EADDRNOTAVAIL`.
fn refusal(pool: PoolId, code: FailureCode, local: Option<IpAddr>, remote: Option<SocketAddr>) -> String {
    let protocol = pool.protocol.to_string().to_ascii_uppercase();
    let from = local
        .filter(|local| !local.is_unspecified())
        .map_or_else(String::new, |local| format!(" on {local}"));
    let to = remote.map_or_else(String::new, |remote| format!(" to {remote}"));
    let trap = match code {
        FailureCode::EAGAIN => " (looks like \"would block\", is a port shortage)",
        FailureCode::WSAENOBUFS => " (10055; STATUS_TOO_MANY_ADDRESSES in the kernel)",
        FailureCode::EADDRNOTAVAIL | FailureCode::EADDRINUSE => "",
    };
    format!("found no {protocol} port{from}{to}: {}{trap}", code.name())
}

/// `SCARCE no TCP port was free: one of a closing connection was handed out again`.
fn scarce(pool: PoolId, times: u64, options: &TextOptions) -> String {
    let name = options.paint.warning("SCARCE");
    let protocol = pool.protocol.to_string().to_ascii_uppercase();
    let times = if times > 1 { format!(", {} times", count(times)) } else { String::new() };
    format!("{name} no {protocol} port was free: one of a closing connection was handed out again{times}")
}

fn holders(top: &[(Owner, u64)]) -> String {
    if top.is_empty() {
        return String::new();
    }
    let holder = |(owner, held): &(Owner, u64)| format!("{} {}", label(owner), count(*held));
    let holders: Vec<String> = top.iter().map(holder).collect();
    format!("\n{INDENT}most are held by {}", holders.join(", "))
}

fn corrected(corrected: u64, options: &TextOptions) -> String {
    let name = options.paint.warning("CORRECTED");
    format!("{name} {} by the kernel's own list of sockets", counted(corrected, "hold"))
}

fn lost(lost: u64, stage: LossStage, options: &TextOptions) -> String {
    let place = match stage {
        LossStage::Kernel => "in the kernel's buffer",
        LossStage::Queue => "on the way to the engine",
        LossStage::Decode => "because they could not be decoded",
        LossStage::Etw => "in the trace session",
        LossStage::Recording => "in a damaged part of the recording",
        LossStage::Table => "for want of room in the table of ports",
    };
    let name = options.paint.warning("LOST");
    let events = counted(lost, "event");
    format!("{name} {events} {place}: {}", data_quality::consequence(stage.keeps_totals(), options))
}
