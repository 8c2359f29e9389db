use super::*;
use crate::engine::report::{Evidence, LeakKind, Owner, OwnerReport, ProtocolReport, Verdict};
use crate::event::{FailureCode, LossStage, Protocol};
use crate::sink::Completeness;
use crate::sink::fixtures::{self, Written};
use crate::symbols::Symbols;
use std::collections::BTreeMap;

fn options() -> TextOptions {
    TextOptions {
        paint: Paint::new(false),
        summary_only: false,
        verbose: false,
        buffer_bytes: Some(4 << 20),
        limits_by: "portleak doctor",
        zone: TimeZone::UTC,
    }
}

fn written(options: TextOptions, tell: impl FnOnce(&mut TextSink)) -> String {
    let written = Written::default();
    let mut sink = TextSink::new(written.writer(), None, &fixtures::capture(), Symbols::default(), options);
    tell(&mut sink);
    written.text()
}

fn summary(summary: &Summary) -> String {
    written(options(), |sink| sink.summary(summary, &Completeness::default()).unwrap())
}

fn first_line(owners: Vec<OwnerReport>) -> String {
    let text = summary(&fixtures::summary(owners));
    text.lines().next().unwrap().to_owned()
}

fn suspected(owner: Owner, evidence: Vec<Evidence>) -> Finding {
    Finding::Verdict {
        at_ns: fixtures::at(10.0),
        owner,
        previous: Verdict::Growing,
        verdict: Verdict::Suspected,
        held: 600,
        evidence,
    }
}

#[test]
fn a_leak_is_told_as_in_the_golden_file() {
    let owners = (4800..4815).map(fixtures::innocent);
    let owners = [fixtures::leaker()].into_iter().chain(owners).collect();
    let actual = summary(&fixtures::summary(owners));
    fixtures::golden("summary-leak.txt", include_str!("../../../../tests/golden/summary-leak.txt"), &actual);
}

#[test]
fn a_snapshot_is_told_as_in_the_golden_file() {
    let actual = written(options(), |sink| sink.snapshot(&fixtures::snapshot()).unwrap());
    fixtures::golden("snapshot.txt", include_str!("../../../../tests/golden/snapshot.txt"), &actual);
    let mut empty = fixtures::snapshot();
    empty.owners.clear();
    empty.pools.clear();
    let text = written(options(), |sink| sink.snapshot(&empty).unwrap());
    assert!(text.starts_with("Nobody holds an ephemeral port; 0 in TIME_WAIT\n\nlimited: "), "{text}");
}

#[test]
fn findings_are_told_as_in_the_golden_file() {
    let back = Finding::Verdict {
        at_ns: fixtures::at(15.0),
        owner: fixtures::python(),
        previous: Verdict::Suspected,
        verdict: Verdict::Clean,
        held: 1,
        evidence: vec![],
    };
    let exhausted = Finding::Exhausted {
        at_ns: fixtures::at(11.0),
        owner: fixtures::process(5000, "curl"),
        pool: fixtures::pool(Protocol::Udp),
        code: FailureCode::EAGAIN,
        local: Some([10, 0, 0, 1].into()),
        remote: Some(([127, 0, 0, 1], 9999).into()),
        top_holders: vec![(fixtures::python(), 28_000), (fixtures::process(9, "x"), 12)],
    };
    let lost = Finding::Lost { at_ns: fixtures::at(12.0), count: 1, stage: LossStage::Kernel };
    let mut bound = fixtures::evidence();
    bound.kind = LeakKind::Bound;
    bound.protocol = Protocol::Udp;
    bound.exhaustion_in_s = None;
    let first = suspected(fixtures::python(), vec![fixtures::evidence(), bound]);
    let actual = written(options(), |sink| {
        for finding in [first, fixtures::half_used(), exhausted, lost, back] {
            sink.finding(&finding).unwrap();
        }
    });
    fixtures::golden("findings.txt", include_str!("../../../../tests/golden/findings.txt"), &actual);
}

#[test]
fn the_first_line_is_the_verdict() {
    assert_eq!(
        first_line(vec![fixtures::leaker()]),
        "LEAK: python3 (pid 4711) holds 600 TCP ports to 127.0.0.1:9999 and releases none"
    );
    assert_eq!(
        first_line(vec![fixtures::innocent(1), fixtures::innocent(2)]),
        "No leak: 2 owners hold 2 ports after 12 s"
    );
    assert_eq!(first_line(vec![]), "No leak: nobody took a port in 12 s");
}

#[test]
fn what_an_owner_did_before_it_ended_is_told_in_the_past() {
    let mut owner = fixtures::leaker();
    owner.tcp.held = 0;
    owner.tcp.released = 620;
    owner.evidence[0].released_share = 0.5;
    let text = summary(&fixtures::summary(vec![owner]));
    let expected = "LEAK: python3 (pid 4711) held 600 TCP ports to 127.0.0.1:9999 \
                and kept 50 % of what it took\n";
    assert!(text.starts_with(expected), "{text}");
    assert!(text.contains("grew by 50 a second; holds 0 now"), "{text}");
    assert!(!text.contains("ports exhausted"), "{text}");
}

#[test]
fn churn_is_no_leak() {
    let mut owner = fixtures::leaker();
    owner.verdict = Verdict::Churn;
    owner.evidence[0].kind = LeakKind::Churn;
    let text = summary(&fixtures::summary(vec![owner]));
    assert!(text.starts_with("No leak: 1 owner holds 600 ports"), "{text}");
    assert!(
        text.contains(
            "CHURN: python3 (pid 4711) leaves 600 TCP ports to 127.0.0.1:9999 in TIME_WAIT; not a leak"
        ),
        "{text}"
    );
    assert!(text.contains("reuse connections"), "{text}");
}

#[test]
fn a_victim_is_told_with_its_error() {
    let mut owner = fixtures::innocent(5000);
    owner.verdict = Verdict::Exhausted;
    owner.tcp.failed = BTreeMap::from([(FailureCode::EADDRNOTAVAIL, 12)]);
    let text = summary(&fixtures::summary(vec![owner, fixtures::leaker()]));
    assert!(text.starts_with("EXHAUSTED: curl (pid 5000) found no free port 12 times\n"), "{text}");
    assert!(text.contains("EADDRNOTAVAIL 12 times"), "{text}");
    assert!(text.contains("\nLEAK: python3 (pid 4711) holds"), "{text}");
}

#[test]
fn a_loss_says_what_it_means_and_the_remedy() {
    let lossy = Summary { lost: 120, ..fixtures::summary(vec![fixtures::innocent(1)]) };
    let text = summary(&lossy);
    assert!(text.starts_with("No leak seen:"), "{text}");
    assert!(
        text.contains(
            "WARN 120 of 48,331 events lost (0.2 %) in 12 s: \
             totals are exact, single holds may be missing; remedy: --buffer 16M"
        ),
        "{text}"
    );
}

#[test]
fn corrections_are_told_when_there_are_some_and_always_to_who_wants_to_know() {
    let line = "from the kernel's list of sockets";
    let exact = fixtures::summary(vec![]);
    assert!(!summary(&exact).contains(line));
    assert!(summary(&Summary { corrections: 3, ..exact.clone() }).contains(&format!("3 corrections {line}")));
    let folded = "1,234 owners counted together as other processes";
    assert!(summary(&Summary { folded: 1_234, ..exact }).contains(folded));
    let corrected = Finding::Corrected { at_ns: fixtures::at(1.0), count: 1 };
    let told = written(options(), |sink| sink.finding(&corrected).unwrap());
    assert!(told.contains("CORRECTED 1 hold from the kernel's list of sockets"), "{told}");
}

#[test]
fn the_last_ports_are_a_warning() {
    let pool = fixtures::pool(Protocol::Tcp);
    let top_holders = vec![(fixtures::leaker().owner, 600)];
    let scarce = Finding::Scarce { at_ns: fixtures::at(1.0), pool, count: 60, top_holders };
    let told = written(options(), |sink| sink.finding(&scarce).unwrap());
    assert!(
        told.contains("SCARCE no TCP port was free: the port of a closing connection was reused, 60 times"),
        "{told}"
    );
    assert!(told.contains("top holders: python3"), "{told}");
}

#[test]
fn verbose_spells_out_the_limits() {
    let mut options = options();
    options.verbose = true;
    let text = written(options, |sink| {
        sink.summary(&fixtures::summary(vec![]), &Completeness::default()).unwrap();
    });
    assert!(text.contains("limited: UDP ports of the kernel"), "{text}");
    assert!(text.contains("remedy: use a kernel with"), "{text}");
    assert!(!text.contains("portleak doctor"), "{text}");
    assert!(text.contains("0 corrections from the kernel's list"), "{text}");
}

#[test]
fn quiet_leaves_the_summary() {
    let mut options = options();
    options.summary_only = true;
    let text = written(options, |sink| {
        sink.finding(&suspected(fixtures::python(), vec![])).unwrap();
    });
    assert_eq!(text, "");
}

#[test]
fn no_line_of_the_table_is_too_long() {
    let mut owner = fixtures::leaker();
    owner.owner = fixtures::process(4_194_304, "a-very-long-na\u{1b}e-that-goes-on-and-on");
    let busy = ProtocolReport {
        acquired: 1_234_567,
        released: 1_234_567,
        held: 200_000,
        time_wait: 28_232,
        ..ProtocolReport::default()
    };
    owner.tcp = busy.clone();
    owner.udp = busy;
    let text = table::text(&[owner, fixtures::innocent(1)], &Paint::new(false));
    for line in text.lines() {
        assert!(line.chars().count() <= WIDTH, "{line}");
        assert!(!line.contains('\u{1b}'), "{line:?}");
    }
}

#[test]
fn colours_do_not_disturb_the_columns() {
    let plain = table::text(&[fixtures::leaker()], &Paint::new(false));
    let painted = table::text(&[fixtures::leaker()], &Paint::new(true));
    assert!(painted.contains("\x1b[1;31mleak\x1b[0m"), "{painted:?}");
    let bare =
        ["\x1b[1;31m", "\x1b[2m", "\x1b[0m"].iter().fold(painted, |text, escape| text.replace(escape, ""));
    assert_eq!(bare, plain);
}

#[test]
fn a_table_that_is_full_makes_no_claim_of_totals() {
    let full = Finding::Lost { at_ns: fixtures::at(12.0), count: 3, stage: LossStage::Table };
    let text = written(options(), |sink| sink.finding(&full).unwrap());
    assert!(text.contains("LOST 3 events because the table of ports is full: totals are inexact"), "{text}");
}
