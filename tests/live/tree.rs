//! `run` learns its process tree from the kernel: whatever is lost, and wherever it runs.

use crate::harness::{PATIENCE, Process, Workload, alone, portleak, workload_path};
use portleak_tests::trace::Trace;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const CHILDREN: u64 = 300;

/// portleak's arguments to run that many processes which take one UDP port each.
fn run_children(command: &mut Command, output: &Path) {
    command
        .arg(output)
        .arg("--")
        .arg(workload_path())
        .args(["--own-netns", "children", "--count", &CHILDREN.to_string()])
        .stdin(Stdio::null());
}

/// How many UDP ports all owners have acquired, however they are grouped.
fn acquired(trace: &Trace) -> u64 {
    let owners = trace.summary()["owners"].as_array().expect("owners");
    owners.iter().filter_map(|owner| owner["udp"]["acquired"].as_u64()).sum()
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn lost_records_forget_no_child() {
    let _machine = alone();
    let files = tempfile::tempdir().expect("a directory for the output");
    let output = files.path().join("output");
    // A stranger fills the ring; it takes TCP ports only.
    let storm = Workload::start(&["storm", "--connections", "3000000"]);
    let mut command = portleak(&["run", "--buffer", "16K", "--format", "json", "--output"]);
    run_children(&mut command, &output);
    let status = Process::start(&mut command).end("portleak run", Duration::from_secs(90));
    drop(storm);
    assert_eq!(status.code(), Some(0));
    let trace = Trace::complete(&output);
    assert!(trace.lost() > 1_000, "only {} records were lost: nothing was shown", trace.lost());
    assert_eq!(acquired(&trace), CHILDREN);
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_tree_in_a_pid_namespace_is_found() {
    let _machine = alone();
    let files = tempfile::tempdir().expect("a directory for the output");
    let output = files.path().join("output");
    let stranger = Workload::start(&["leak", "--per-second", "100", "--seconds", "600"]);
    let run = portleak(&["run", "--format", "json", "--output"]);
    let mut command = Command::new(workload_path());
    command.arg("in-pid-namespace").arg(run.get_program()).args(run.get_args());
    run_children(&mut command, &output);
    let status = Process::start(&mut command).end("portleak run", PATIENCE);
    assert_eq!(status.code(), Some(0));
    let trace = Trace::complete(&output);
    assert_eq!(acquired(&trace), CHILDREN);
    assert!(trace.find(&stranger.pid()).is_none(), "a stranger");
}
