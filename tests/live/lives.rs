//! The lives of ports that are not simply opened and closed.

use crate::harness::{PATIENCE, Tracer, Workload, alone};
use portleak_tests::trace::Trace;
use serde_json::{Value, json};

/// Traces a workload of one server and one client while both are alive.
fn trace_client(workload: &[&str]) -> (Trace, Value) {
    let tracer = Tracer::start(&[]);
    let workload = Workload::start(workload);
    let client = workload.client_of_server();
    let trace = tracer.finish();
    workload.end();
    (trace, client)
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_process_that_ended_keeps_its_name_and_its_counts() {
    let _machine = alone();
    let (trace, client) = trace_client(&["exit-holding", "--connections", "50"]);
    trace.check_count(&client, "tcp", "acquired", &json!(50));
    trace.check_count(&client, "tcp", "released", &json!(50));
    trace.check_count(&client, "tcp", "held", &json!(0));
    let owner = &trace.owner(&client["pid"])["owner"];
    assert_eq!(owner["comm"], "workload");
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_process_that_became_another_program_keeps_its_ports() {
    let _machine = alone();
    let (trace, client) = trace_client(&["exec", "--connections", "50"]);
    trace.check(&client);
    let owner = &trace.owner(&client["pid"])["owner"];
    assert_eq!(owner["comm"], "cat", "the name it has now");
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn time_wait_is_charged_to_its_maker_and_is_not_held() {
    let _machine = alone();
    let (trace, client) = trace_client(&["time-wait", "--connections", "200"]);
    trace.check(&client);
    trace.check_count(&client, "tcp", "time_wait", &json!(200));
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn close_wait_is_told_apart() {
    let _machine = alone();
    let (trace, client) = trace_client(&["close-wait", "--connections", "50"]);
    trace.check(&client);
    trace.check_count(&client, "tcp", "close_wait", &json!(50));
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn exhaustion_names_the_victim() {
    let _machine = alone();
    let tracer = Tracer::start(&["--fail-on-leak"]);
    let workload = Workload::start(&["exhaust", "--attempts", "6"]);
    let client = workload.client_of_server();
    let pid = client["pid"].clone();
    tracer.wait_for("an exhausted line", PATIENCE, |trace| {
        let victims = trace.of_type("exhausted");
        let names_it = |line: &&Value| line["owner"]["pid"] == pid;
        victims.filter(names_it).map(check_exhausted).next()
    });
    let trace = tracer.finish_with(3);
    trace.check(&client);
    let warnings = trace.of_type("half_used").filter(|line| line["owner"]["pid"] == pid);
    let used: Vec<_> = warnings.map(|line| (&line["remote"], &line["used"], &line["usable"])).collect();
    assert_eq!(used, [(&json!("127.0.0.1:7001"), &json!(3), &json!(4))], "told before it failed");
    let owner = trace.owner(&pid);
    assert_eq!(owner["verdict"], "exhausted");
    assert_eq!(owner["tcp"]["failed"]["EADDRNOTAVAIL"], 2);
    workload.end();
}

fn check_exhausted(line: &Value) {
    assert_eq!(line["errno"], "EADDRNOTAVAIL", "{line}");
    assert_eq!(line["protocol"], "tcp", "{line}");
    assert_eq!(line["remote"], "127.0.0.1:7001", "{line}");
    let first = &line["top_holders"][0];
    assert_eq!(first["owner"]["pid"], line["owner"]["pid"], "{line}");
    assert_eq!(first["held"], 4, "{line}");
}
