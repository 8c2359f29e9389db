//! Which code of the program that leaks took the ports.

use crate::harness::{PATIENCE, Process, alone, portleak};
use portleak_tests::program;
use portleak_tests::trace::Trace;
use serde_json::Value;
use std::process::Stdio;

const LEAK_SOURCE: &str = include_str!("../../tracer/examples/leak.rs");
/// Where in it the ports are taken.
const LEAK_CALL: &str = "TcpStream::connect(server)";

fn run(arguments: &[&str], command: &[&str]) -> Trace {
    let files = tempfile::tempdir().expect("a directory for the output");
    let output = files.path().join("output");
    let mut portleak = portleak(&["run", "--format", "json", "--output"]);
    portleak.arg(&output).args(arguments).arg("--").args(command);
    portleak.stdin(Stdio::null()).stdout(Stdio::null());
    let status = Process::start(&mut portleak).end("portleak run", PATIENCE);
    assert_eq!(status.code(), Some(0), "{command:?}");
    Trace::complete(&output)
}

/// What is first said against it.
fn leaker(trace: &Trace) -> &Value {
    let found = trace.of_type("finding").find(|line| line["owner"]["comm"] == "leak");
    &found.expect("a finding against the leak")["evidence"][0]
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_leak_is_told_with_its_line_of_code() {
    let _machine = alone();
    let trace = run(&[], &[&program::leak().to_string_lossy(), "6", "60"]);
    let line = LEAK_SOURCE.lines().position(|line| line.contains(LEAK_CALL)).expect("the line") + 1;
    let place = format!("fetch_and_forget (leak.rs:{line})");
    let evidence = leaker(&trace);
    let frames = evidence["call_site"]["frames"].as_array().expect("a call site");
    assert!(frames.iter().any(|frame| frame.as_str().is_some_and(|f| f.ends_with(&place))), "{frames:?}");
    let text = evidence["text"].as_str().expect("a sentence");
    assert!(text.contains(&format!("fetch_and_forget (leak.rs:{line})")), "{text}");
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn without_stacks_there_is_no_call_site() {
    let _machine = alone();
    let trace = run(&["--stacks", "never"], &[&program::leak().to_string_lossy(), "4", "60"]);
    assert_eq!(leaker(&trace)["call_site"], Value::Null);
}
