//! A few seeds of the corpus, so that a change that makes the detector worse is seen at once. The
//! whole of it: `cargo xtask evaluate`.
//!
//! Time is the stream's, so the bounds are exact.

#![expect(clippy::panic, reason = "a test that panics has failed")]

use portleak::engine::Profile;
use portleak_tests::evaluate::judge::{Outcome, Setup, judge};
use portleak_tests::evaluate::kinds::{Frame, KINDS, Kind};
use portleak_tests::evaluate::policies::PolicyName;

/// A quarter of an hour, in which the leak begins after a minute.
const SHORT: Frame = Frame { seconds: 900.0, begin: 60.0 };
fn run(kind: &Kind, seed: u64, profile: Profile) -> Outcome {
    judge(kind, seed, Setup { frame: SHORT, ..Setup::of(profile, true) })
}

fn named(name: &str) -> &'static Kind {
    KINDS.iter().find(|kind| kind.name == name).unwrap_or_else(|| panic!("there is no kind {name}"))
}

#[test]
fn leaks_are_found_in_a_session_and_only_their_owners_accused() {
    for kind in KINDS.iter().filter(|kind| kind.leaks && kind.name != "total 200/s") {
        let outcome = run(kind, 0, Profile::Session);
        let leak_s = outcome.leak.unwrap_or_else(|| panic!("{}: not found", kind.name));
        assert!(leak_s <= 400.0, "{}: {leak_s} s", kind.name);
        assert!(!outcome.false_suspected, "{}: {:?}", kind.name, outcome.wrong);
    }
}

#[test]
fn the_healthy_are_left_alone() {
    for kind in KINDS.iter().filter(|kind| !kind.leaks && kind.one_of == 1) {
        let outcome = run(kind, 1, Profile::Session);
        assert!(!outcome.false_suspected, "{}: {:?}", kind.name, outcome.wrong);
    }
    // What only its use tells from a leak.
    for name in ["pool of 2,000 in 5 min", "keep-alive 0.1/s, 30 min", "websockets 1/s, 10 min"] {
        let outcome = run(named(name), 2, Profile::Production);
        assert!(!outcome.false_suspected, "{name}: {:?}", outcome.wrong);
    }
}

/// The delays that were promised, of leaks as named, with a fifth to spare.
#[test]
fn verdicts_come_in_time() {
    let bounds = [
        ("total 20/s", Profile::Production, 60.0),
        ("partial 2 % of 20/s", Profile::Production, 108.0),
        ("CLOSE_WAIT 1 % of 20/s", Profile::Production, 90.0),
        ("slow 1/min", Profile::Session, 300.0),
    ];
    for (name, profile, bound_s) in bounds {
        let outcome = run(named(name), 0, profile);
        assert!(outcome.leak.is_some_and(|leak_s| leak_s <= bound_s), "{name}: {:?}", outcome.leak);
    }
    let fast = run(named("total 20/s"), 0, Profile::Production);
    assert!(fast.growing.is_some_and(|s| s <= 2.0) && fast.suspected.is_some_and(|s| s <= 10.0));
    assert!(fast.leaked < 1_412, "less than 5 % of the pool: {}", fast.leaked);
}

/// The seam: another policy reads the same features and comes to verdicts of its own.
#[test]
fn a_second_policy_judges_the_same_events() {
    let setup = Setup { frame: SHORT, policy: PolicyName::OldHolds, ..Setup::of(Profile::Session, true) };
    let leak_s = judge(named("total 20/s"), 0, setup).leak;
    // Ages are known to a quarter.
    assert!(leak_s.is_some_and(|leak_s| (600.0..750.0).contains(&leak_s)), "{leak_s:?}");
    assert!(judge(named("churn 50/s, 50 ms"), 0, setup).wrong.is_none());
    let pool = judge(named("pool of 2,000 in 5 min"), 0, setup);
    assert!(pool.false_suspected, "it knows nothing of use");
}
