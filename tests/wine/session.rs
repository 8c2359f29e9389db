//! How Windows' event tracing is asked: what for, and what becomes of the session when it says no.

use crate::harness::{Outcome, Scenario};
use portleak::source::windows::live::providers::{AFD, TCPIP};
use portleak_tests::plan::Plan;
use serde_json::{Value, json};

/// What the names of sessions begin with.
const NAME: &str = "portleak";

fn quiet() -> Scenario {
    Scenario::new(|machine| {
        machine.process(100, "app.exe");
        machine.connected(100);
    })
}

/// Tracing fails, and says why; the session does not stay behind.
fn check_refused(function: &str, code: u32, words: &[&str]) -> Outcome {
    let mut scenario = quiet();
    scenario.plan.failures = [(function.to_owned(), code)].into();
    let outcome = scenario.trace_for(3);
    assert_eq!(outcome.status, Some(1), "{}", outcome.errors);
    for word in words.iter().chain(&["remedy"]) {
        assert!(outcome.errors.contains(word), "no {word:?} in: {}", outcome.errors);
    }
    outcome
}

#[test]
#[ignore = "needs cargo xtask windows"]
fn only_what_is_needed_is_asked_for() {
    let scenario = quiet();
    let outcome = scenario.trace_for(3);
    outcome.said();
    let started = outcome.calls_of("StartTraceW");
    assert_eq!(started.len(), 1, "{started:?}");
    assert!(started[0]["name"].as_str().is_some_and(|name| name.starts_with(NAME)), "{started:?}");
    assert_eq!(started[0]["result"], 0);
    let enabled = outcome.calls_of("EnableTraceEx2");
    let last = |provider: &str| {
        let mut calls = enabled.iter().filter(|call| call["code"] == 1);
        let call =
            calls.rfind(|call| call["provider"].as_str().is_some_and(|guid| guid.starts_with(provider)));
        *call.unwrap_or_else(|| panic!("{provider} is not enabled: {enabled:#?}"))
    };
    let (tcpip, afd) = (last("{2f07e2ee"), last("{e53c6823"));
    assert_eq!((&tcpip["ids"], &afd["ids"]), (&json!(TCPIP.ids()), &json!(AFD.ids())));
    assert_eq!(tcpip["stacks"], json!([1001, 1391]), "stacks of the creation of sockets only");
    assert_eq!(afd["stacks"], Value::Null);
    assert!(enabled.iter().all(|call| call["result"] == 0 && call["level"] == 4), "{enabled:#?}");
    assert!(outcome.verbs().contains(&"query"), "losses are asked for: {:?}", outcome.verbs());
    assert_eq!(outcome.calls_of("CloseTrace").len(), 1);
}

#[test]
#[ignore = "needs cargo xtask windows"]
fn who_may_not_trace_is_told_so() {
    let outcome = check_refused("StartTraceW", 5, &["Administrator"]);
    assert!(!outcome.verbs().contains(&"query"));
}

#[test]
#[ignore = "needs cargo xtask windows"]
fn too_many_sessions_are_told() {
    check_refused("StartTraceW", 1450, &["1450"]);
}

/// A session that failed to start half-way is stopped: nobody else would.
#[test]
#[ignore = "needs cargo xtask windows"]
fn a_session_that_cannot_be_used_is_stopped() {
    for function in ["EnableTraceEx2", "OpenTraceW"] {
        let outcome = check_refused(function, 1450, &[]);
        assert_eq!(outcome.verbs().last(), Some(&"stop"), "after {function}: {:?}", outcome.calls);
    }
}

#[test]
#[ignore = "needs cargo xtask windows"]
fn a_session_that_was_left_behind_is_replaced() {
    let mut scenario = quiet();
    scenario.plan = Plan { stale: Some(NAME.to_owned()), ..scenario.plan };
    let outcome = scenario.trace_for(3);
    let said = outcome.said();
    assert_eq!(said.owner(&100.into())["tcp"]["held"], 1);
    let results: Vec<_> = outcome.calls_of("StartTraceW").iter().map(|call| call["result"].clone()).collect();
    assert_eq!(results.last(), Some(&json!(0)), "{results:?}");
    assert_eq!(outcome.verbs().first(), Some(&"stop"));
}

#[test]
#[ignore = "needs cargo xtask windows"]
fn ctrl_c_ends_it_and_sums_up() {
    let mut scenario = quiet();
    scenario.plan.ctrl_c_s = Some(3.0);
    let outcome = scenario.run("json", &["trace", "--format", "json"]);
    let said = outcome.said();
    assert_eq!(said.owner(&100.into())["tcp"]["acquired"], 1);
    assert_eq!(outcome.calls_of("Ctrl-C").len(), 1);
    assert!(outcome.verbs().contains(&"stop"), "{:?}", outcome.verbs());
}
