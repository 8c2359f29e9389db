//! Evidence as a sentence: what is held, since when, to where, and when the ports are exhausted.

use super::context::Context;
use super::names::printable;
use super::numbers::{count, counted, duration, percent, rate};
use crate::engine::report::{Evidence, LeakKind, Usual};
use crate::event::Protocol;
use crate::symbols::representative;

/// Forecasts beyond one year are not shown.
const FORECAST_MAX_S: f64 = 365.0 * 86400.0;

/// The sentence for one piece of evidence as of `now_ns`.
#[must_use]
pub fn evidence(evidence: &Evidence, context: &Context, now_ns: u64) -> String {
    let since = context.time_of_day(evidence.since_ns, now_ns);
    let held = ports(evidence);
    let to = to(evidence);
    let fact = match evidence.kind {
        LeakKind::Total => format!("{held}{to} held since {since}, {}", released(evidence)),
        LeakKind::Partial => format!(
            "{} of the {}ports{to} acquired since {since} are never released; {} held",
            percent(1.0 - evidence.released_share),
            protocol(evidence),
            count(evidence.held),
        ),
        LeakKind::CloseWait => format!(
            "{} in CLOSE_WAIT{to} since {since}: the peer has closed, this process has not",
            counted(evidence.held, "socket"),
        ),
        LeakKind::SynSent => format!(
            "{}{to} without an answer since {since}: each holds a port until it gives up",
            counted(evidence.held, "connection attempt"),
        ),
        LeakKind::Slow => format!(
            "{held}{to} held since {since}, growing by {}, {}",
            rate(evidence.rate_per_s),
            released(evidence)
        ),
        LeakKind::Bound => format!("{held} bound and not connected since {since}, {}", released(evidence)),
        LeakKind::Churn => return churn(evidence, evidence.usable),
    };
    fact + &usual(evidence) + &unused(evidence) + &outlook(evidence) + &from(evidence, context)
}

/// No process holds a port in TIME_WAIT, so the sentence ends with the remedy.
fn churn(evidence: &Evidence, usable: Option<u64>) -> String {
    let of = usable.map_or_else(String::new, |usable| format!(" of {}", count(usable)));
    let are = if evidence.held == 1 { "is" } else { "are" };
    let noun = match usable.unwrap_or(evidence.held) {
        1 => "port",
        _ => "ports",
    };
    format!(
        "{}{of} {}{noun}{} {are} in TIME_WAIT: connections are closed faster than their ports \
         come back (60 s on Linux); reuse connections{}",
        count(evidence.held),
        protocol(evidence),
        to(evidence),
        outlook(evidence)
    )
}

/// `600 ports`, `40 UDP ports`, `60 ports of 30 processes`. TCP is not named.
fn ports(evidence: &Evidence) -> String {
    let ports = counted(evidence.held, &format!("{}port", protocol(evidence)));
    match evidence.processes {
        Some(processes) => format!("{ports} of {}", counted_plural(processes, "process", "processes")),
        None => ports,
    }
}

fn counted_plural(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(n), if n == 1 { one } else { many })
}

/// `; the other 98 % live 300 ms`: how long healthy holds to the same destination live.
fn usual(evidence: &Evidence) -> String {
    let text =
        |usual: &Usual| format!("; the other {} live {}", percent(usual.share), duration(usual.life_s));
    evidence.usual.as_ref().map_or_else(String::new, text)
}

/// `; 15 of 16 sampled connections idle`.
fn unused(evidence: &Evidence) -> String {
    match evidence.abandoned {
        Some((idle, of)) if 2 * idle > of => format!("; {idle} of {of} sampled {} idle", sampled(evidence)),
        _ => String::new(),
    }
}

/// What a sample is of: UDP and bound TCP sockets are not connections.
fn sampled(evidence: &Evidence) -> &'static str {
    match (evidence.protocol, evidence.kind) {
        (Protocol::Tcp, LeakKind::Bound) | (Protocol::Udp, _) => "sockets",
        (Protocol::Tcp, _) => "connections",
    }
}

fn protocol(evidence: &Evidence) -> &'static str {
    match evidence.protocol {
        Protocol::Tcp => "",
        Protocol::Udp => "UDP ",
    }
}

fn to(evidence: &Evidence) -> String {
    evidence.remote.map_or_else(String::new, |remote| format!(" to {remote}"))
}

fn released(evidence: &Evidence) -> String {
    if evidence.released_share > 0.0 {
        format!("{} released", percent(evidence.released_share))
    } else if evidence.held == 1 {
        "not released".to_owned()
    } else {
        "none released".to_owned()
    }
}

/// `; 540 of 600 from fetch_and_forget (leak.rs:37)`, if a frame has a name.
fn from(evidence: &Evidence, context: &Context) -> String {
    let Some(share) = &evidence.site else {
        return String::new();
    };
    let names = context.names(share);
    let Some(name) = representative(&names) else {
        return String::new();
    };
    let part = if share.held < share.of {
        format!("{} of {}", count(share.held), count(share.of))
    } else {
        "all".to_owned()
    };
    format!("; {part} from {}", printable(&name.to_string()))
}

/// When the ports are exhausted, if there is a forecast.
fn outlook(evidence: &Evidence) -> String {
    match evidence.exhaustion_in_s {
        Some(s) if s <= 0.0 => "; no ports left".to_owned(),
        Some(s) if s <= FORECAST_MAX_S => {
            format!("; ports exhausted in {}{}", duration(s), margin(evidence))
        }
        _ => String::new(),
    }
}

/// ` (2 h to 5 h)`, unless both are shown alike.
fn margin(evidence: &Evidence) -> String {
    let Some((earliest, latest)) = evidence.exhaustion_between_s else {
        return String::new();
    };
    let (earliest, latest) = (duration(earliest), duration(latest));
    if earliest == latest { String::new() } else { format!(" ({earliest} to {latest})") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::fixtures;

    fn say(change: impl FnOnce(&mut Evidence)) -> String {
        let mut e = fixtures::evidence();
        change(&mut e);
        evidence(&e, &fixtures::context(), fixtures::at(12.0))
    }

    #[test]
    fn total() {
        assert_eq!(
            say(|_| ()),
            "600 ports to 127.0.0.1:9999 held since 09:12:04, none released; \
             ports exhausted in 9 min"
        );
        assert_eq!(
            say(|e| {
                e.held = 1;
                e.remote = None;
                e.exhaustion_in_s = None;
            }),
            "1 port held since 09:12:04, not released"
        );
        assert_eq!(
            say(|e| {
                e.released_share = 0.03;
                e.exhaustion_in_s = Some(0.0);
            }),
            "600 ports to 127.0.0.1:9999 held since 09:12:04, 3 % released; no ports left"
        );
    }

    #[test]
    fn the_code_is_named() {
        let site = |held| Some(fixtures::site(held, 600));
        let text = say(|e| e.site = site(540));
        assert!(text.ends_with("in 9 min; 540 of 600 from fetch_and_forget"), "{text}");
        assert!(say(|e| e.site = site(600)).ends_with("; all from fetch_and_forget"));
    }

    #[test]
    fn partial() {
        assert_eq!(
            say(|e| {
                e.kind = LeakKind::Partial;
                e.held = 24;
                e.released_share = 0.98;
                e.exhaustion_in_s = Some(10_800.0);
            }),
            "2 % of the ports to 127.0.0.1:9999 acquired since 09:12:04 are never released; \
             24 held; ports exhausted in 3 h"
        );
    }

    #[test]
    fn all_evidence_is_shown() {
        let text = say(|e| {
            e.kind = LeakKind::Partial;
            e.held = 24;
            e.released_share = 0.98;
            e.exhaustion_in_s = Some(10_800.0);
            e.exhaustion_between_s = Some((7_200.0, 18_000.0));
            e.usual = Some(Usual { share: 0.98, life_s: 0.3 });
            e.abandoned = Some((16, 16));
        });
        assert_eq!(
            text,
            "2 % of the ports to 127.0.0.1:9999 acquired since 09:12:04 are never released; 24 held; \
             the other 98 % live 300 ms; 16 of 16 sampled connections idle; \
             ports exhausted in 3 h (2 h to 5 h)"
        );
    }

    #[test]
    fn a_programs_processes_are_counted() {
        let text = say(|e| {
            e.processes = Some(300);
            e.exhaustion_in_s = None;
        });
        assert_eq!(text, "600 ports of 300 processes to 127.0.0.1:9999 held since 09:12:04, none released");
    }

    #[test]
    fn stuck_states() {
        assert_eq!(
            say(|e| {
                e.kind = LeakKind::CloseWait;
                e.held = 12;
                e.exhaustion_in_s = None;
            }),
            "12 sockets in CLOSE_WAIT to 127.0.0.1:9999 since 09:12:04: \
             the peer has closed, this process has not"
        );
        assert_eq!(
            say(|e| {
                e.kind = LeakKind::SynSent;
                e.held = 1;
            }),
            "1 connection attempt to 127.0.0.1:9999 without an answer since 09:12:04: \
             each holds a port until it gives up; ports exhausted in 9 min"
        );
    }

    #[test]
    fn slow_and_bound() {
        assert_eq!(
            say(|e| {
                e.kind = LeakKind::Slow;
                e.held = 14;
                e.rate_per_s = 2.0 / 3600.0;
                e.exhaustion_in_s = Some(1e9);
            }),
            "14 ports to 127.0.0.1:9999 held since 09:12:04, growing by 2 an hour, none released"
        );
        assert_eq!(
            say(|e| {
                e.kind = LeakKind::Bound;
                e.protocol = Protocol::Udp;
                e.held = 40;
                e.remote = None;
                e.exhaustion_in_s = None;
            }),
            "40 UDP ports bound and not connected since 09:12:04, none released"
        );
    }

    #[test]
    fn churn_names_the_remedy() {
        assert_eq!(
            say(|e| {
                e.kind = LeakKind::Churn;
                e.held = 27_000;
                e.exhaustion_in_s = None;
            }),
            "27,000 of 28,232 ports to 127.0.0.1:9999 are in TIME_WAIT: connections are closed \
             faster than their ports come back (60 s on Linux); reuse connections"
        );
    }
}
