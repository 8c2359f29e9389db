//! Not one port too many, not one too few.

use crate::harness::{PATIENCE, Tracer, Workload, alone};
use serde_json::{Value, json};
use std::time::Duration;

/// For workloads that open tens of thousands of sockets.
const LONG: Duration = Duration::from_secs(90);

#[test]
#[ignore = "needs root: cargo xtask test"]
fn twenty_processes_are_counted_exactly() {
    let _machine = alone();
    let counts = "exact --processes 20 --tcp 1000 --tcp-bound 25 --udp-bind 100 \
                  --udp-connect 100 --udp-send 100 --hold 5";
    counts_are_exact(counts, 20);
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn one_busy_process_is_counted_exactly() {
    let _machine = alone();
    let counts = "exact --tcp 20000 --tcp-bound 500 --udp-bind 2000 \
                  --udp-connect 2000 --udp-send 2000 --hold 7";
    counts_are_exact(counts, 1);
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn ordinary_closes_are_counted_exactly() {
    let _machine = alone();
    counts_are_exact("exact --processes 4 --tcp 1000 --close fin --hold 5", 4);
}

fn counts_are_exact(workload: &str, processes: usize) {
    let tracer = Tracer::start(&[]);
    let workload = Workload::start(&words(workload));
    let reports = workload.reports(1 + processes, LONG);
    let trace = tracer.finish();
    let (server, clients) = reports.split_first().expect("a server first");
    for client in clients {
        trace.check(client);
    }
    trace.check_took_nothing(server);
    assert_eq!(trace.lost(), 0, "lost events");
    workload.end();
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn accepted_connections_are_not_the_servers() {
    let _machine = alone();
    let tracer = Tracer::start(&[]);
    let workload = Workload::start(&words("accept --connections 500"));
    let reports = workload.reports(2, PATIENCE);
    let trace = tracer.finish();
    // The server listens on one port that the system chose; that one is its own.
    assert_eq!(reports[0]["tcp"]["acquired"], 1);
    reports.iter().for_each(|report| trace.check(report));
    workload.end();
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_reset_frees_the_port_before_the_descriptor_is_closed() {
    let _machine = alone();
    let tracer = Tracer::start(&[]);
    let workload = Workload::start(&words("reset --connections 300"));
    let reports = workload.reports(2, PATIENCE);
    let trace = tracer.finish();
    trace.check(&reports[1]);
    trace.check_took_nothing(&reports[0]);
    workload.end();
}

const HOLD_36_000: &str = "hold --connections 9000 --processes 4";

#[test]
#[ignore = "needs root: cargo xtask test"]
fn thirty_six_thousand_live_sockets_are_all_tracked() {
    let _machine = alone();
    let tracer = Tracer::start(&[]);
    let workload = Workload::start(&words(HOLD_36_000));
    let reports = workload.reports(8, LONG);
    let trace = tracer.finish();
    let (servers, clients) = reports.split_at(4);
    clients.iter().for_each(|client| trace.check(client));
    servers.iter().for_each(|it| trace.check_took_nothing(it));
    workload.end();
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn sockets_older_than_the_tracer_are_all_found() {
    let _machine = alone();
    let workload = Workload::start(&words(HOLD_36_000));
    let reports = workload.reports(8, LONG);
    let trace = Tracer::start(&[]).finish();
    let (servers, clients) = reports.split_at(4);
    for client in clients {
        trace.check(&seen_late(client));
    }
    servers.iter().for_each(|it| trace.check_took_nothing(it));
    workload.end();
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn older_sockets_of_every_kind_are_found() {
    let _machine = alone();
    let workload = "exact --tcp 50 --tcp-bound 50 --udp-bind 50 --udp-connect 50 --udp-send 50 \
                    --hold 20";
    let workload = Workload::start(&words(workload));
    let report = workload.client_of_server();
    let trace = Tracer::start(&[]).finish();
    trace.check(&seen_late(&report));
    trace.check_count(&report, "tcp", "held_bound_only", &json!(20));
    workload.end();
}

/// What a tracer can know of a process that did everything before tracing began.
fn seen_late(report: &Value) -> Value {
    let mut report = report.clone();
    for protocol in ["tcp", "udp"] {
        report[protocol]["acquired"] = json!(0);
        report[protocol]["released"] = json!(0);
    }
    report
}

/// A buffer that is far too small: events may be lost, totals may not.
#[test]
#[ignore = "needs root: cargo xtask test"]
fn totals_survive_a_loss() {
    let _machine = alone();
    let tracer = Tracer::start(&["--buffer", "65536"]);
    let workload = Workload::start(&words("storm --connections 50000 --destinations 64"));
    let report = workload.reports(1, LONG).remove(0);
    workload.end();
    let trace = tracer.finish();
    trace.check(&report);
    let told: u64 = trace
        .of_type("lost")
        .filter_map(|line| line["count"].as_u64())
        .sum();
    assert_eq!(told > 0, trace.lost() > 0, "a loss is told as it happens");
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}
