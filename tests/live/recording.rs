//! What was recorded says again what was said live.

use crate::harness::{PATIENCE, Process, Tracer, Workload, alone, portleak, shared, workload_path};
use portleak_tests::program;
use portleak_tests::trace::Trace;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// What `portleak replay` says of a recording.
fn replay(recording: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(program::portleak());
    command.arg("replay").arg(recording).args(arguments);
    command.output().expect("portleak")
}

/// A line as of a file, which has no loop that could be late.
fn without_lag(line: &str) -> String {
    let Some((before, after)) = line.split_once("\"loop_lag_s\":{") else {
        return line.to_owned();
    };
    let (_, after) = after.split_once('}').expect("the end of the object");
    format!("{before}\"loop_lag_s\":null{after}")
}

/// The same lines, to the last byte but the loop's lag: findings, call sites, summary.
fn check(recording: &Path, live: &Path) {
    let again = replay(recording, &["--format", "json"]);
    assert_eq!(String::from_utf8_lossy(&again.stderr), "");
    assert_eq!(again.status.code(), Some(0));
    let live = fs::read_to_string(live).expect("the output");
    let again = String::from_utf8_lossy(&again.stdout);
    for (again, live) in again.lines().zip(live.lines()) {
        assert_eq!(again, without_lag(live));
    }
    assert_eq!(again.lines().count(), live.lines().count());
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_run_is_told_again() {
    let _machine = shared();
    let files = tempfile::tempdir().expect("a directory for the files");
    let (output, recording) = (files.path().join("output"), files.path().join("leak.plk"));
    let mut command = portleak(&["run", "--format", "json", "--output"]);
    command.arg(&output).arg("--record").arg(&recording).arg("--");
    command.arg(program::leak()).args(["8", "40"]);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let status = Process::start(&mut command).end("portleak run", PATIENCE);
    assert_eq!(status.code(), Some(0));
    check(&recording, &output);
    let found = Trace::complete(&output);
    let site =
        found.of_type("finding").find_map(|line| line["evidence"][0]["call_site"]["frames"].as_array());
    assert!(site.is_some(), "a call site");
}

/// Nothing is lost for it, in the densest traffic there is.
#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_storm_is_told_again() {
    let _machine = alone();
    let files = tempfile::tempdir().expect("a directory for the files");
    let (recording, live) = (files.path().join("storm.plk"), files.path().join("live"));
    let tracer = Tracer::start(&["--buffer", "16M", "--record", &recording.to_string_lossy()]);
    let workload = Workload::start(&["storm", "--connections", "100000"]);
    workload.reports(1, Duration::from_secs(60));
    workload.end();
    let trace = tracer.finish_keeping(&live);
    assert_eq!(trace.lost(), 0);
    check(&recording, &live);
}

/// Power fails, or somebody kills it: all but the last second is there.
#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_recording_that_was_not_finished_is_told_so_far() {
    let _machine = shared();
    let files = tempfile::tempdir().expect("a directory for the files");
    let recording = files.path().join("killed.plk");
    let tracer = Tracer::start(&["--record", &recording.to_string_lossy()]);
    let workload = Workload::start(&["leak", "--per-second", "20", "--seconds", "4"]);
    let report = workload.reports(1, PATIENCE).remove(0);
    let taken = |trace: &Trace| trace.of_type("finding").any(|line| line["owner"]["pid"] == report["pid"]);
    tracer.wait_for("a finding", PATIENCE, |trace| taken(trace).then_some(()));
    drop(tracer); // Kills it.
    let told = replay(&recording, &["--format", "json"]);
    assert_eq!(told.status.code(), Some(0));
    let note = String::from_utf8_lossy(&told.stderr);
    assert!(note.contains("was not finished"), "{note}");
    let output = files.path().join("output");
    fs::write(&output, told.stdout).expect("a file");
    assert!(taken(&Trace::complete(&output)));
    workload.end();
}

/// A tool that was asked to record and cannot must not go on as if it did.
#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_recording_that_cannot_be_written_ends_the_trace() {
    let _machine = shared();
    let files = tempfile::tempdir().expect("a directory for the files");
    let small = files.path().join("small");
    // A file system of 64 KiB: room for the beginning only.
    let script = "mkdir -p \"$0\" && mount -t tmpfs -o size=64k none \"$0\" && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script]).arg(&small);
    command.args(portleak(&[]).get_program().to_str()).args(["run", "-q", "--record"]);
    command.arg(small.join("full.plk")).arg("--").arg(workload_path());
    command.args(["--own-netns", "storm", "--connections", "500000"]).stdin(Stdio::null());
    let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().expect("unshare");
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(125), "{error}");
    assert!(error.contains("full.plk") && error.contains("remedy: free space there"), "{error}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("events, "), "the summary of what was seen");
}
