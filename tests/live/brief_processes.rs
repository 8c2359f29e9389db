//! Many processes that end as soon as they have a port: the sums stay exact, however few of the
//! processes were seen whole.

use crate::harness::{
    PATIENCE, Process, Tracer, Workload, alone, lines_of, parse_report, portleak, workload_path,
};
use portleak_tests::trace::Trace;
use serde_json::Value;
use std::process::Stdio;
use std::time::Duration;

/// Half of them with a port of TCP, half with one of UDP.
const WORKLOAD: [&str; 5] = ["brief", "--processes", "2000", "--transport", "both"];
/// Too small a buffer for what they do.
const BUFFER: [&str; 2] = ["--buffer", "64K"];
const LONG: Duration = Duration::from_secs(90);

#[test]
#[ignore = "needs root: cargo xtask test"]
fn the_ports_of_brief_processes_add_up() {
    let _machine = alone();
    let mut workload = Workload::start(&WORKLOAD);
    let tracer = Tracer::start(&BUFFER);
    workload.observe();
    let report = workload.reports(1, LONG).remove(0);
    check_sums(&tracer.finish(), &report);
    workload.end();
}

/// What tells that an owner's ports are of the namespace, and what it was called, is kept by the probes:
/// their records are lost, and they are dead.
#[test]
#[ignore = "needs root: cargo xtask test"]
fn the_ports_of_brief_processes_of_a_namespace_add_up_and_all_have_a_name() {
    let _machine = alone();
    let mut workload = Workload::start(&WORKLOAD);
    let netns = workload.netns().to_string();
    let tracer = Tracer::start(&[&BUFFER[..], &["--netns", &netns]].concat());
    workload.observe();
    let report = workload.reports(1, LONG).remove(0);
    let trace = tracer.finish();
    check_sums(&trace, &report);
    let nameless = |owner: &&Value| owner["owner"]["kind"] == "process" && owner["owner"]["comm"].is_null();
    assert_eq!(trace.owners().iter().find(nameless), None);
    workload.end();
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn the_ports_of_a_commands_brief_children_add_up() {
    let _machine = alone();
    let files = tempfile::tempdir().expect("a directory for the output");
    let output = files.path().join("output");
    let mut command = portleak(&["run", "--format", "json", "--output"]);
    command.arg(&output).args(BUFFER).arg("--").arg(workload_path()).arg("--own-netns").args(WORKLOAD);
    let mut process = Process::start(command.stdin(Stdio::null()).stdout(Stdio::piped()));
    let report = lines_of(process.stdout(), 1).recv_timeout(LONG);
    assert_eq!(process.end("portleak run", PATIENCE).code(), Some(0));
    check_sums(&Trace::complete(&output), &parse_report(&report.expect("the workload's report in time")));
}

fn check_sums(trace: &Trace, report: &Value) {
    for (protocol, count) in ["tcp", "udp"].into_iter().flat_map(|it| [(it, "acquired"), (it, "released")]) {
        let owners = trace.owners().iter().filter(|owner| may_be_brief(&owner["owner"]));
        let sum: u64 = owners.map(|owner| owner[protocol][count].as_u64().expect("a count")).sum();
        assert_eq!(
            report[protocol][count],
            sum,
            "{protocol}.{count}; capture {}",
            trace.summary()["capture"]
        );
    }
}

/// Whether an owner is one of the processes, or one whose name was lost, or a remainder of such.
fn may_be_brief(owner: &Value) -> bool {
    owner["kind"] == "others"
        || owner["kind"] == "process" && (owner["comm"] == "workload" || owner["comm"].is_null())
}
