//! The program itself: it starts, and judges a file as it does anywhere.

use crate::harness::Scenario;
use portleak_tests::program;
use portleak_tests::trace::Trace;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Wine's own sockets take the ports, and nothing tells of them: every question is asked, and those that
/// only events can answer are not answered.
#[test]
#[ignore = "needs cargo xtask windows"]
fn the_self_test_goes_its_way_and_makes_nothing_up() {
    let scenario = Scenario::new(|machine| machine.process(100, "app.exe"));
    let file = format!("{}.kept", scenario.trace().display());
    let command = ["doctor", "--self-test", "--format", "json", "--save", &format!("Z:{file}")];
    let outcome = scenario.run("self-test", &command);
    assert!(Path::new(&file).exists(), "where Windows is to write");
    let kept = outcome.calls_of("StartTraceW")[0]["file"].as_str().expect("a file").replace('\\', "/");
    assert_eq!(kept, format!("Z:{file}"));
    assert_eq!(outcome.status, Some(0), "{}", outcome.errors);
    let said = fs::read_to_string(&outcome.output).expect("what was said");
    let said: Value = serde_json::from_str(&said).expect("one object");
    let answers = said["answers"].as_array().expect("answers");
    let answer = |words: &str| {
        let about = |answer: &&Value| answer["question"].as_str().is_some_and(|it| it.contains(words));
        &answers.iter().find(about).unwrap_or_else(|| panic!("nothing about {words}"))["observed"]
    };
    assert_eq!(answer("own sockets take"), "0 of 41 acquired, 0 released");
    assert!(answer("byte order").is_null() && answer("failed bind").is_null(), "{answers:#?}");
    let enabled = outcome.calls_of("EnableTraceEx2");
    let of_old = |call: &&&Value| call["ids"].as_array().is_some_and(|ids| ids.contains(&Value::from(40)));
    assert!(enabled.iter().any(|call| of_old(&call)), "AFD's events of old are let through: {enabled:#?}");
    assert!(outcome.verbs().contains(&"stop"), "{:?}", outcome.verbs());
}

/// The command's own status is portleak's; its ports are not in the script.
#[test]
#[ignore = "needs cargo xtask windows"]
fn a_command_is_run_and_its_status_handed_on() {
    let scenario = Scenario::new(|machine| {
        machine.process(100, "other.exe");
        machine.connected(100);
    });
    let outcome = scenario.run("run", &["run", "--format", "json", "--", "cmd", "/c", "exit 7"]);
    assert_eq!(outcome.status, Some(7), "{}", outcome.errors);
    let said = Trace::complete(&outcome.output);
    assert_eq!(said.summary()["owners"], json!([]), "nobody else's ports");
    let outcome = scenario.run("absent", &["run", "--", "no-such-command"]);
    assert_eq!(outcome.status, Some(127), "{}", outcome.errors);
}

#[test]
#[ignore = "needs cargo xtask windows"]
fn what_was_recorded_is_judged_the_same_elsewhere() {
    let scenario = Scenario::new(|machine| {
        machine.process(100, "app.exe");
        (0..60).for_each(|n| _ = machine.at(f64::from(n) / 20.0).connected(100));
    });
    let file = format!("{}.plk", scenario.trace().display());
    let there = format!("Z:{file}");
    let command = ["trace", "--format", "json", "--duration", "6s", "--record", &there];
    let live = scenario.run("live", &command).said();
    let replayed = scenario.replayed_output();
    let mut portleak = Command::new(program::portleak());
    portleak.args(["replay", "--format", "json", "--output"]).arg(&replayed).arg(&file);
    assert!(portleak.status().expect("portleak runs").success());
    let said = Trace::complete(&replayed);
    assert_eq!(said.owner(&100.into())["tcp"]["held"], 60);
    assert_eq!(said.summary()["owners"], live.summary()["owners"]);
}

#[test]
#[ignore = "needs cargo xtask windows"]
fn a_trace_file_is_judged_as_on_linux() {
    let scenario = Scenario::new(|machine| {
        machine.process(100, "leaky.exe");
        (0..600_u32).for_each(|n| _ = machine.at(f64::from(n) / 10.0).connected(100));
    });
    let file = format!("Z:{}", scenario.trace().display());
    let there = scenario.run("replay", &["replay", "--format", "json", &file]);
    let verdicts = there.said().verdicts(&100.into()).join(" ");
    assert!(verdicts.ends_with("leak"), "{verdicts}");
    scenario.replayed();
    let lines = |file| fs::read_to_string(file).expect("what was said");
    assert_eq!(lines(there.output), lines(scenario.replayed_output()));
}
