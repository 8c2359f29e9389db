//! The top of the summary: the verdict, then the evidence against the worst owner.

use super::paint::Paint;
use super::{WIDTH, finding};
use crate::engine::report::{Evidence, LeakKind, OwnerReport, Summary, Verdict};
use crate::event::{FailureCode, Protocol};
use crate::sink::context::Context;
use crate::sink::evidence_text;
use crate::sink::names::{cut, full, printable};
use crate::sink::numbers::{count, counted, duration, percent, rate};
use std::collections::BTreeMap;

/// Owners that get a headline each; the table has the rest.
const HEADLINES_MAX: usize = 4;
/// Pieces of evidence that are shown for the worst owner.
const EVIDENCE_MAX: usize = 4;

pub(super) fn text(summary: &Summary, context: &Context, paint: &Paint) -> String {
    let worst = summary.worst();
    let mut text = String::new();
    if !worst.fails() {
        text += &paint.verdict(Verdict::Clean, &no_leak(summary));
        text.push('\n');
    }
    let reported = summary
        .owners
        .iter()
        .filter(|report| report.verdict != Verdict::Clean)
        .filter(|report| report.verdict.fails() || !worst.fails())
        .take(HEADLINES_MAX);
    for (i, report) in reported.enumerate() {
        let name = paint.verdict(report.verdict, &finding::upper(report.verdict));
        text += &format!("{name}: {}\n", headline(report));
        if i == 0 {
            text += &details(report, context, summary.at_ns, paint);
        }
    }
    text
}

/// `No leak: 3 owners hold 12 ports`; `No leak seen` when events were lost.
fn no_leak(summary: &Summary) -> String {
    let seen = if summary.lost > 0 { " seen" } else { "" };
    let traced = duration(summary.duration_s);
    if summary.owners.is_empty() {
        return format!("No leak{seen}: nobody took a port in {traced}");
    }
    let owners = summary.owners.len() as u64;
    let held = summary.owners.iter().map(|o| o.tcp.held + o.udp.held).sum();
    let verb = if owners == 1 { "holds" } else { "hold" };
    format!("No leak{seen}: {} {verb} {} after {traced}", counted(owners, "owner"), counted(held, "port"))
}

/// `python3 (pid 4711) holds 600 TCP ports to 127.0.0.1:9999 and releases none`.
fn headline(report: &OwnerReport) -> String {
    let who = full(&report.owner);
    match report.evidence.first() {
        Some(evidence) => format!("{who} {}", behaviour(evidence, is_over(report))),
        None if report.verdict == Verdict::Exhausted => {
            format!("{who} found no free port {}", times(failures(report)))
        }
        None => {
            let held = report.tcp.held + report.udp.held;
            format!("{who} holds {}", counted(held, "port"))
        }
    }
}

/// What an owner does; in the past tense once it has released most of its ports.
fn behaviour(evidence: &Evidence, past: bool) -> String {
    let protocol = match evidence.protocol {
        Protocol::Tcp => "TCP",
        Protocol::Udp => "UDP",
    };
    let ports = counted(evidence.held, &format!("{protocol} port"));
    let to = evidence.remote.map_or_else(String::new, |remote| format!(" to {remote}"));
    let tense = |now, then| if past { then } else { now };
    let holds = tense("holds", "held");
    let kept = percent(1.0 - evidence.released_share);
    match evidence.kind {
        LeakKind::Total if evidence.released_share > 0.0 => {
            let (keeps, takes) = (tense("keeps", "kept"), tense("takes", "took"));
            format!("{holds} {ports}{to} and {keeps} {kept} of what it {takes}")
        }
        LeakKind::Total => {
            let releases = tense("releases", "released");
            format!("{holds} {ports}{to} and {releases} none")
        }
        LeakKind::Partial => {
            let releases = tense("never releases", "never released");
            let held = count(evidence.held);
            format!("{releases} {kept} of its {protocol} ports{to}; it {holds} {held}")
        }
        LeakKind::CloseWait => {
            let closes = tense("has", "had");
            format!("{holds} {ports}{to} in CLOSE_WAIT: the peer has closed, this process {closes} not")
        }
        LeakKind::SynSent => {
            let answers = tense("answers", "answered");
            format!("{holds} {ports} for connection attempts{to} that nobody {answers}")
        }
        LeakKind::Slow => {
            let takes = tense("takes", "took");
            let more = rate(evidence.rate_per_s);
            format!("{holds} {ports}{to} and {takes} {more} more")
        }
        LeakKind::Bound => format!("{holds} {ports}, bound and not connected"),
        LeakKind::Churn => {
            let leaves = tense("leaves", "left");
            format!("{leaves} {ports}{to} in TIME_WAIT; not a leak")
        }
    }
}

/// Whether the owner has released most of its ports since the evidence was collected, as a rule
/// because it has ended. Ports in TIME_WAIT are not held, so churn is never over in this sense.
fn is_over(report: &OwnerReport) -> bool {
    let held = report.tcp.held + report.udp.held;
    report.evidence.iter().any(|e| e.kind != LeakKind::Churn && held < e.held / 2)
}

/// The lines below the first headline.
fn details(report: &OwnerReport, context: &Context, now_ns: u64, paint: &Paint) -> String {
    let over = is_over(report);
    // An owner that released its ports exhausts no pool.
    let current =
        |e: &Evidence| Evidence { exhaustion_in_s: e.exhaustion_in_s.filter(|_| !over), ..e.clone() };
    let mut lines: Vec<String> = report
        .evidence
        .iter()
        .take(EVIDENCE_MAX)
        .map(|e| evidence_text::evidence(&current(e), context, now_ns))
        .collect();
    lines.push(balance(report));
    if let Some(failed) = failed(report) {
        lines.push(failed);
    }
    let facts = report.owner.facts.as_ref();
    if let Some(cmdline) = facts.and_then(|facts| facts.cmdline.as_deref()) {
        lines.push(paint.dim(&cut(&format!("command: {}", printable(cmdline)), WIDTH - 2)));
    }
    lines.iter().map(|line| format!("  {line}\n")).collect()
}

/// `620 acquired, 20 released; growing by 50 a second; oldest held for 12 s`.
fn balance(report: &OwnerReport) -> String {
    let (tcp, udp) = (&report.tcp, &report.udp);
    let mut text = format!(
        "{} acquired, {} released",
        count(tcp.acquired + udp.acquired),
        count(tcp.released + udp.released)
    );
    let growth: f64 =
        report.evidence.iter().filter(|e| e.kind != LeakKind::Churn).map(|e| e.rate_per_s).sum();
    let over = is_over(report);
    if growth > 0.0 {
        let grows = if over { "grew" } else { "growing" };
        text += &format!("; {grows} by {}", rate(growth));
    }
    if over {
        let held = report.tcp.held + report.udp.held;
        text += &format!("; holds {} now", count(held));
    }
    if let Some(oldest_s) = report.oldest_held_s {
        text += &format!("; oldest held for {}", duration(oldest_s));
    }
    text
}

/// `found no free port: EADDRNOTAVAIL 12 times`.
fn failed(report: &OwnerReport) -> Option<String> {
    let mut by_code: BTreeMap<FailureCode, u64> = BTreeMap::new();
    for (code, n) in report.tcp.failed.iter().chain(&report.udp.failed) {
        *by_code.entry(*code).or_default() += n;
    }
    by_code.retain(|_, n| *n > 0);
    let one = |(code, n): (&FailureCode, &u64)| format!("{} {}", code.name(), times(*n));
    let codes: Vec<String> = by_code.iter().map(one).collect();
    (!codes.is_empty()).then(|| format!("found no free port: {}", codes.join(", ")))
}

/// All allocations of an owner that failed because no port was free.
pub(super) fn failures(report: &OwnerReport) -> u64 {
    report.tcp.failed.values().chain(report.udp.failed.values()).sum()
}

fn times(n: u64) -> String {
    match n {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        n => format!("{} times", count(n)),
    }
}
