//! Exit codes, and what becomes of the command that portleak ran.

use crate::harness::{
    PATIENCE, Process, Workload, alone, lines_of, parse_report, portleak, until, workload_path,
};
use portleak_tests::trace::Trace;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

/// Ends portleak's command line with a code.
fn exits_with(code: i32, arguments: &[&str]) {
    let _machine = alone();
    let mut command = portleak(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let status = Process::start(&mut command).end("portleak", PATIENCE);
    assert_eq!(status.code(), Some(code), "portleak {arguments:?}");
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn run_ends_with_the_commands_own_status() {
    exits_with(7, &["run", "--", "sh", "-c", "exit 7"]);
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn run_tells_a_command_that_is_no_program() {
    exits_with(126, &["run", "--", "/etc/passwd"]);
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn run_tells_a_command_that_does_not_exist() {
    exits_with(127, &["run", "--", "no-such-command-anywhere"]);
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn run_tells_its_own_failure() {
    exits_with(125, &["run", "--output", "/no/such/folder/x", "--", "true"]);
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_wrong_duration_is_wrong_usage() {
    exits_with(2, &["trace", "--duration", "banana"]);
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn an_unknown_process_is_a_failure() {
    // One more than Linux ever hands out.
    exits_with(1, &["trace", "--pid", "4194305"]);
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn tracing_ends_after_its_duration() {
    exits_with(0, &["trace", "--duration", "1s"]);
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn run_counts_descendants_and_nobody_else() {
    let _machine = alone();
    let files = tempfile::tempdir().expect("a directory for the output");
    let output = files.path().join("output");
    let stranger = Workload::start(&["leak", "--per-second", "100", "--seconds", "600"]);
    let mut command = portleak(&["run", "--format", "json", "--output"]);
    command
        .arg(&output)
        .arg("--")
        .arg(workload_path())
        .args(["--own-netns", "exact", "--processes", "4", "--tcp", "500"])
        .args(["--udp-send", "100", "--hold", "5"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut process = Process::start(&mut command);
    let lines = lines_of(process.stdout(), 5);
    assert_eq!(process.end("portleak run", PATIENCE).code(), Some(0));
    let trace = Trace::complete(&output);
    let reports: Vec<_> = lines.iter().map(|line| parse_report(&line)).collect();
    assert_eq!(reports.len(), 5, "a server and four clients");
    for client in &reports[1..] {
        trace.check_count(client, "tcp", "acquired", &client["tcp"]["acquired"]);
        trace.check_count(client, "udp", "acquired", &client["udp"]["acquired"]);
    }
    assert!(trace.find(&stranger.pid()).is_none(), "a stranger");
}

/// Who reads the output goes away; the command must not stay behind.
#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_closed_pipe_leaves_no_child() {
    let _machine = alone();
    let files = tempfile::tempdir().expect("a directory for the pid");
    let pid_file = files.path().join("pid");
    let script = "echo $$ > \"$0\"; exec \"$@\" > /dev/null";
    let mut command = portleak(&["run", "--format", "json", "--", "sh", "-c", script]);
    command
        .arg(&pid_file)
        .arg(workload_path())
        .args(["--own-netns", "leak", "--per-second", "50", "--seconds", "300"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut process = Process::start(&mut command);
    let first_line = lines_of(process.stdout(), 1).recv_timeout(PATIENCE);
    first_line.expect("the start line, after which nobody reads");
    let pid = until("the command to start", PATIENCE, || read_pid(&pid_file));
    // The next line to write says that the leak is growing.
    process.end("portleak run", Duration::from_secs(60));
    let folder = format!("/proc/{pid}");
    until("the command to be gone", PATIENCE, || (!Path::new(&folder).exists()).then_some(()));
}

/// The pid, once the line is complete.
fn read_pid(path: &Path) -> Option<u32> {
    let text = fs::read_to_string(path).ok()?;
    text.strip_suffix('\n')?.parse().ok()
}
