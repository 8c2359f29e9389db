//! A finding as it happens: time, verdict, owner, evidence.

use super::{TextOptions, data_quality};
use crate::engine::report::{Evidence, Finding, Owner, Verdict};
use crate::event::{FailureCode, LossStage, PoolId};
use crate::sink::context::Context;
use crate::sink::evidence_text;
use crate::sink::names::label;
use crate::sink::numbers::{count, counted};
use std::net::{IpAddr, SocketAddr};

/// Indent of further lines: the verdict's column.
const INDENT: &str = "         ";

pub(super) fn text(finding: &Finding, context: &Context, options: &TextOptions) -> String {
    let (at_ns, line) = match finding {
        Finding::Verdict { at_ns, owner, previous, verdict, held, evidence } => {
            let facts = if evidence.is_empty() {
                changed(*previous, *held)
            } else {
                sentences(evidence, context, *at_ns)
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
    format!("{} {line}\n", context.time_of_day(at_ns, at_ns))
}

/// `SUSPECTED`.
pub(super) fn upper(verdict: Verdict) -> String {
    verdict.name().to_ascii_uppercase()
}

fn changed(previous: Verdict, held: u64) -> String {
    format!("was {}; holds {} now", previous.name(), counted(held, "port"))
}

fn sentences(evidence: &[Evidence], context: &Context, now_ns: u64) -> String {
    let sentence = |e| evidence_text::evidence(e, context, now_ns);
    let sentences: Vec<String> = evidence.iter().map(sentence).collect();
    sentences.join(&format!("\n{INDENT}"))
}

/// `no free TCP port to 127.0.0.1:9999: EADDRNOTAVAIL`.
fn refusal(pool: PoolId, code: FailureCode, local: Option<IpAddr>, remote: Option<SocketAddr>) -> String {
    let protocol = pool.protocol.to_string().to_ascii_uppercase();
    let from = local
        .filter(|local| !local.is_unspecified())
        .map_or_else(String::new, |local| format!(" on {local}"));
    let to = remote.map_or_else(String::new, |remote| format!(" to {remote}"));
    let hint = match code {
        FailureCode::EAGAIN => " (a port shortage, not \"would block\")",
        FailureCode::WSAENOBUFS => " (10055; STATUS_TOO_MANY_ADDRESSES in the kernel)",
        FailureCode::EADDRNOTAVAIL | FailureCode::EADDRINUSE => "",
    };
    format!("no free {protocol} port{from}{to}: {}{hint}", code.name())
}

/// `SCARCE no TCP port was free: the port of a closing connection was reused`.
fn scarce(pool: PoolId, times: u64, options: &TextOptions) -> String {
    let name = options.paint.warning("SCARCE");
    let protocol = pool.protocol.to_string().to_ascii_uppercase();
    let times = if times > 1 { format!(", {} times", count(times)) } else { String::new() };
    format!("{name} no {protocol} port was free: the port of a closing connection was reused{times}")
}

fn holders(top: &[(Owner, u64)]) -> String {
    if top.is_empty() {
        return String::new();
    }
    let holder = |(owner, held): &(Owner, u64)| format!("{} {}", label(owner), count(*held));
    let holders: Vec<String> = top.iter().map(holder).collect();
    format!("\n{INDENT}top holders: {}", holders.join(", "))
}

fn corrected(corrected: u64, options: &TextOptions) -> String {
    let name = options.paint.warning("CORRECTED");
    format!("{name} {} from the kernel's list of sockets", counted(corrected, "hold"))
}

fn lost(lost: u64, stage: LossStage, options: &TextOptions) -> String {
    let name = options.paint.warning("LOST");
    let place = match stage {
        LossStage::Kernel => "in the kernel's event buffer",
        LossStage::Queue => "in the queue to the engine",
        LossStage::Decode => "because they could not be decoded",
        LossStage::Etw => "in the trace session",
        LossStage::Recording => "in a damaged part of the recording",
        LossStage::Table => "because the table of ports is full",
        LossStage::Output => {
            let findings = counted(lost, "finding");
            return format!("{name} {findings}: this output is read too slowly; the summary is complete");
        }
    };
    let events = counted(lost, "event");
    format!("{name} {events} {place}: {}", data_quality::consequence(stage.keeps_totals(), options))
}
