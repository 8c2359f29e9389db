//! Ports whose sockets change hands.

use crate::harness::{PATIENCE, Tracer, Workload, alone, until};
use portleak_tests::trace::Trace;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const CONNECTIONS: u64 = 7;

fn workload(way: &str) -> Workload {
    Workload::start(&["move", way, "--connections", "7"])
}

/// Traces connections that are made and given away, to the end of the trace.
fn give_away(way: &str) -> (Trace, Value) {
    let tracer = Tracer::start(&[]);
    let workload = workload(way);
    let client = workload.client_of_server();
    let trace = tracer.finish();
    workload.end();
    assert_eq!(trace.corrections(), 0, "corrections");
    (trace, client)
}

/// The maker has none of them any more, and the holder all.
fn check_moved(trace: &Trace, client: &Value) {
    let (maker, holder) = (trace.owner(&client["pid"]), trace.owner(&client["holder"]));
    assert_eq!(figures(maker), [CONNECTIONS, CONNECTIONS, 0, CONNECTIONS, 0], "{maker}");
    assert_eq!(figures(holder), [0, 0, CONNECTIONS, 0, CONNECTIONS], "{holder}");
    assert_eq!(holder["owner"]["comm"], "workload");
}

fn figures(owner: &Value) -> [u64; 5] {
    ["acquired", "released", "moved_in", "moved_out", "held"]
        .map(|count| owner["tcp"][count].as_u64().expect("a count"))
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_child_whose_parent_closes_has_them() {
    let _machine = alone();
    let (trace, client) = give_away("fork-close");
    check_moved(&trace, &client);
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn who_is_sent_them_has_them() {
    let _machine = alone();
    let (trace, client) = give_away("scm-rights");
    check_moved(&trace, &client);
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn who_takes_them_has_them() {
    let _machine = alone();
    let (trace, client) = give_away("pidfd-getfd");
    check_moved(&trace, &client);
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn in_flight_nobody_has_them() {
    let _machine = alone();
    let (trace, client) = give_away("scm-in-flight");
    assert_eq!(figures(trace.owner(&client["pid"])), [CONNECTIONS, CONNECTIONS, 0, CONNECTIONS, 0]);
    let nobody = trace.unowned().expect("ports that nobody has");
    assert!(nobody["tcp"]["moved_in"].as_u64() >= Some(CONNECTIONS), "{nobody}");
    assert!(nobody["tcp"]["held"].as_u64() >= Some(CONNECTIONS), "{nobody}");
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn shared_they_stay_with_their_maker() {
    let _machine = alone();
    let (trace, client) = give_away("share");
    trace.check(&client);
    assert_eq!(trace.owner(&client["pid"])["tcp"]["moved_out"], 0);
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_child_that_outlives_its_parent_has_them() {
    let _machine = alone();
    let (trace, client) = give_away("exit");
    check_moved(&trace, &client);
}

/// No event tells of the move, so it is found by looking, soon after the owner's end; what the
/// child then releases is its own.
#[test]
#[ignore = "needs root: cargo xtask test"]
fn the_move_of_an_owner_that_ended_is_found_while_tracing() {
    const LOOKED: Duration = Duration::from_secs(5);
    let _machine = alone();
    let tracer = Tracer::start(&[]);
    let workload = workload("exit");
    let client = workload.client_of_server();
    let ended = Instant::now();
    until("the tracer to have looked", PATIENCE, || (ended.elapsed() > LOOKED).then_some(()));
    workload.end();
    let trace = tracer.finish();
    let (maker, holder) = (trace.owner(&client["pid"]), trace.owner(&client["holder"]));
    assert_eq!(figures(maker), [CONNECTIONS, CONNECTIONS, 0, CONNECTIONS, 0], "{maker}");
    // The server may be slower to close its ends than the tracer is to end.
    assert_eq!(holder["tcp"]["moved_in"], json!(CONNECTIONS), "{holder}");
    assert_eq!(trace.corrections(), 0, "corrections");
}
