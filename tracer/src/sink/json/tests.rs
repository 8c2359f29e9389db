use super::*;
use crate::engine::report::{OwnerReport, Verdict};
use crate::event::{FailureCode, LossStage, NetNs, OwnerId, Protocol};
use crate::sink::Completeness;
use crate::sink::fixtures::{self, Written};
use crate::symbols::Symbols;
use serde_json::Value;

const GOLDEN: &str = include_str!("../../../../tests/golden/session.jsonl");

fn written(tell: impl FnOnce(&mut JsonSink)) -> String {
    let written = Written::default();
    let mut sink = JsonSink::new(written.writer(), &fixtures::capture(), Symbols::default(), false);
    tell(&mut sink);
    written.text()
}

fn findings() -> [Finding; 4] {
    [
        Finding::Verdict {
            at_ns: fixtures::at(10.0),
            owner: fixtures::python(),
            previous: Verdict::Growing,
            verdict: Verdict::Suspected,
            held: 601,
            evidence: vec![fixtures::evidence()],
        },
        Finding::Exhausted {
            at_ns: fixtures::at(11.0),
            owner: fixtures::process(5000, "curl"),
            pool: fixtures::pool(Protocol::Tcp),
            code: FailureCode::EADDRNOTAVAIL,
            local: None,
            remote: Some(([127, 0, 0, 1], 9999).into()),
            top_holders: vec![(fixtures::python(), 28_000)],
        },
        fixtures::half_used(),
        Finding::Lost { at_ns: fixtures::at(11.5), count: 120, stage: LossStage::Kernel },
    ]
}

/// `PORTLEAK_BLESS=1 cargo test` rewrites the golden file.
#[test]
fn a_session_is_told_as_in_the_golden_file() {
    let actual = written(|sink| {
        sink.start(fixtures::at(0.0)).unwrap();
        for finding in findings() {
            sink.finding(&finding).unwrap();
        }
        let owners = vec![fixtures::leaker(), fixtures::innocent(4800)];
        sink.summary(&fixtures::summary(owners), &Completeness::default()).unwrap();
    });
    fixtures::golden("session.jsonl", GOLDEN, &actual);
}

#[test]
fn a_snapshot_is_one_summary_as_in_the_golden_file() {
    let golden = include_str!("../../../../tests/golden/snapshot.jsonl");
    let actual = written(|sink| sink.snapshot(&fixtures::snapshot()).unwrap());
    fixtures::golden("snapshot.jsonl", golden, &actual);
}

#[test]
fn a_call_site_is_told_by_its_frames() {
    let [mut finding, ..] = findings();
    if let Finding::Verdict { evidence, .. } = &mut finding {
        evidence[0].site = Some(fixtures::site(540, 600));
    }
    let told: Value = serde_json::from_str(&written(|sink| sink.finding(&finding).unwrap())).unwrap();
    let frames = ["connect (libc.so.6)", "fetch_and_forget"];
    let expected = serde_json::json!({ "frames": frames, "held": 540, "of": 600 });
    assert_eq!(told["evidence"][0]["call_site"], expected);
}

#[test]
fn quiet_leaves_the_summary() {
    let written = Written::default();
    let mut sink = JsonSink::new(written.writer(), &fixtures::capture(), Symbols::default(), true);
    sink.start(0).unwrap();
    sink.finding(&findings()[2]).unwrap();
    sink.summary(&fixtures::summary(vec![]), &Completeness::default()).unwrap();
    let text = written.text();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains(r#""type":"summary""#), "{text}");
}

#[test]
fn absent_facts_are_null() {
    let mut owner = fixtures::innocent(1);
    owner.owner.facts = None;
    let summary = fixtures::summary(vec![owner]);
    let text = written(|sink| sink.summary(&summary, &Completeness::default()).unwrap());
    let line: Value = serde_json::from_str(&text).unwrap();
    let owner = &line["owners"][0]["owner"];
    for field in ["comm", "exe", "cmdline", "uid", "ppid", "service", "container", "cgroup", "netns"] {
        assert_eq!(owner.get(field), Some(&Value::Null), "{field}");
    }
    assert_eq!(line["owners"][0]["lifetime_s"]["p50"], Value::Null);
    assert_eq!(line["owners"][0]["oldest_held_s"], Value::Null);
}

#[test]
fn system_and_nobody_are_owners_too() {
    let owner =
        |id| OwnerReport { owner: crate::engine::report::Owner { id, facts: None }, ..fixtures::innocent(1) };
    let system = OwnerId::System { module: Some("wireguard".into()), netns: NetNs(7) };
    let summary = fixtures::summary(vec![owner(system), owner(OwnerId::Unowned)]);
    let text = written(|sink| sink.summary(&summary, &Completeness::default()).unwrap());
    assert!(text.contains(r#""owner":{"kind":"system","module":"wireguard","netns":7}"#), "{text}");
    assert!(text.contains(r#""owner":{"kind":"unowned"}"#), "{text}");
}

#[test]
fn numbers_have_no_false_precision() {
    let text = |n| serde_json::to_string(&n).unwrap();
    assert_eq!(text(seconds(0.001_234_567)), "0.001235");
    assert_eq!(text(round(50.123_45, 1e2)), "50.12");
    assert_eq!(text(round(-0.000_1, 1e2)), "0.0");
    assert_eq!(text(round(f64::NAN, 1e2)), "null");
}

#[test]
fn a_correction_is_a_line() {
    let text = written(|sink| {
        sink.finding(&Finding::Corrected { at_ns: fixtures::at(1.0), count: 2 }).unwrap();
    });
    let line: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&line["type"], &line["count"]), (&"corrected".into(), &2.into()));
}

#[test]
fn windows_has_a_status_instead_of_an_errno() {
    let exhausted = |code| {
        let text = written(|sink| {
            let (at_ns, pool, owner) =
                (fixtures::at(1.0), fixtures::pool(Protocol::Tcp), fixtures::leaker().owner);
            let (local, remote, top_holders) = (None, None, vec![]);
            sink.finding(&Finding::Exhausted { at_ns, owner, pool, code, local, remote, top_holders })
                .unwrap();
        });
        serde_json::from_str::<Value>(&text).unwrap()
    };
    let line = exhausted(FailureCode::WSAENOBUFS);
    assert_eq!((&line["status"], line.get("errno")), (&"0xC0000209".into(), None));
    let line = exhausted(FailureCode::EADDRNOTAVAIL);
    assert_eq!((&line["errno"], line.get("status")), (&"EADDRNOTAVAIL".into(), None));
}
