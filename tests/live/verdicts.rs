//! Leaks are called leaks, and nothing else is.

use crate::harness::{
    PATIENCE, Process, Tracer, Workload, lines_of, parse_report, portleak, shared, workload_path,
};
use portleak_tests::trace::Trace;
use serde_json::Value;
use std::process::Stdio;
use std::time::Duration;

/// A minute of leaking, and what comes around it.
const TWO_MINUTES: Duration = Duration::from_secs(120);

const LEAK: [&str; 5] = ["leak", "--per-second", "20", "--seconds", "60"];

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_leak_is_told_in_steps_and_counted_exactly() {
    let _machine = shared();
    let tracer = Tracer::start(&[]);
    let workload = Workload::start(&LEAK);
    let report = workload.reports(1, TWO_MINUTES).remove(0);
    tracer.wait_for("the verdict leak", PATIENCE, |trace| {
        trace.verdicts(&report["pid"]).contains(&"leak").then_some(())
    });
    let trace = tracer.finish();
    check_steps(&trace, &report);
    trace.check(&report);
    let owner = trace.owner(&report["pid"]);
    assert_eq!(owner["verdict"], "leak");
    assert_eq!(owner["evidence"][0]["held"], report["tcp"]["held"]);
    workload.end();
}

/// The same under `run`, where the program ends, and with it the tracing.
#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_leak_is_told_while_its_command_runs() {
    let _machine = shared();
    let files = tempfile::tempdir().expect("a directory for the output");
    let output = files.path().join("output");
    let mut command = portleak(&["run", "--format", "json", "--output"]);
    command
        .arg(&output)
        .arg("--")
        .arg(workload_path())
        .arg("--own-netns")
        .args(LEAK)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut process = Process::start(&mut command);
    let lines = lines_of(process.stdout(), 1);
    let report = lines.recv_timeout(TWO_MINUTES);
    let report = parse_report(&report.expect("the program's report in time"));
    let status = process.end("portleak run", PATIENCE);
    assert_eq!(status.code(), Some(0), "the command's own status");
    let trace = Trace::complete(&output);
    check_steps(&trace, &report);
    trace.check_count(&report, "tcp", "acquired", &report["tcp"]["acquired"]);
}

/// First growing, then suspected, then leak.
fn check_steps(trace: &Trace, report: &Value) {
    let verdicts = trace.verdicts(&report["pid"]);
    let step = |name| verdicts.iter().position(|verdict| *verdict == name);
    let steps = ["growing", "suspected", "leak"].map(step);
    assert!(steps.iter().all(Option::is_some) && steps.is_sorted(), "verdicts in their order: {verdicts:?}");
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn healthy_programs_are_left_alone() {
    let _machine = shared();
    let healthy = [
        "steady --per-second 50 --hold-ms 200 --seconds 30",
        "pool --size 50 --per-second 20 --seconds 30",
        "grow --per-second 20 --seconds 30",
        "burst --size 100 --every-s 5 --hold-s 2 --seconds 30",
    ];
    let tracer = Tracer::start(&[]);
    let start = |line: &str| Workload::start(&line.split(' ').collect::<Vec<_>>());
    let workloads = healthy.map(start);
    let reports = workloads.each_ref().map(|workload| workload.reports(1, TWO_MINUTES).remove(0));
    let trace = tracer.finish();
    for (line, report) in healthy.iter().zip(&reports) {
        trace.check(report);
        check_left_alone(&trace, report, line);
    }
    workloads.into_iter().for_each(Workload::end);
}

fn check_left_alone(trace: &Trace, report: &Value, workload: &str) {
    let last = trace.owner(&report["pid"])["verdict"].as_str();
    let all = trace.verdicts(&report["pid"]);
    for verdict in all.iter().copied().chain(last) {
        assert!(
            !["suspected", "leak", "exhausted"].contains(&verdict),
            "{workload} is healthy, but: {all:?}, in the end {last:?}"
        );
    }
}
