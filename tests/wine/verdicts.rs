//! What is told of a machine while its ports are taken: leaks, bursts, refusals, owners.

use crate::harness::{Outcome, Scenario};
use crate::listed::{ESTABLISHED, TIME_WAIT};
use portleak_tests::etl::machine::Machine;
use portleak_tests::etl::writer::Form;
use portleak_tests::plan::{Driver, Socket};
use portleak_tests::trace::Trace;
use serde_json::{Value, json};

/// Sockets a second of whoever leaks.
const RATE: u32 = 20;
/// How long the leaks go on.
const LEAK_S: u32 = 36;
/// How long they are watched: the session hands over its buffers once a second.
const WATCHED_S: u32 = LEAK_S + 4;
/// When events are lost: after whatever a start takes on a busy machine.
const LOST_S: f64 = 25.0;

/// What of an owner does not depend on when it was looked at.
fn counts(owner: &Value) -> Value {
    let of = |protocol: &str| {
        let of = &owner[protocol];
        [&of["acquired"], &of["released"], &of["held"], &of["held_bound_only"]].map(Value::clone)
    };
    json!([of("tcp"), of("udp")])
}

/// The live session and the file it was played from are told alike.
fn check_like_the_file(live: &Trace, scenario: &Scenario, pids: &[u32]) {
    let file = scenario.replayed();
    for &pid in pids {
        let pid = pid.into();
        assert_eq!(
            counts(live.owner(&pid)),
            counts(file.owner(&pid)),
            "process {pid}, live and from its file"
        );
    }
}

fn leaks(machine: &mut Machine, pid: u32) {
    for n in 0..RATE * LEAK_S {
        machine.at(f64::from(n) / f64::from(RATE)).connected(pid);
    }
}

fn owner_of_module<'a>(said: &'a Trace, module: &Value) -> &'a Value {
    let owners = said.summary()["owners"].as_array().expect("owners");
    let is_it = |owner: &&Value| owner["owner"]["kind"] == "system" && &owner["owner"]["module"] == module;
    owners.iter().find(is_it).unwrap_or_else(|| panic!("no {module} of System in {owners:#?}"))
}

#[test]
#[ignore = "needs cargo xtask windows"]
fn the_process_that_never_closes_leaks() {
    let scenario = Scenario::new(|machine| {
        machine.process(100, "leaky.exe");
        machine.process(200, "healthy.exe");
        for n in 0..RATE * LEAK_S {
            machine.at(f64::from(n) / f64::from(RATE)).connected(100);
            let socket = machine.connected(200);
            machine.abort(socket);
        }
    });
    let said = scenario.trace_and_show(WATCHED_S, "leak").said();
    let leaky = said.owner(&100.into());
    assert_eq!((&leaky["verdict"], &leaky["owner"]["comm"]), (&json!("leak"), &json!("leaky.exe")));
    assert_eq!(leaky["evidence"][0]["remote"], "10.0.0.9:443");
    assert_eq!((&leaky["tcp"]["acquired"], &leaky["tcp"]["held"]), (&json!(720), &json!(720)));
    assert_eq!(said.owner(&200.into())["verdict"], "clean");
    assert_eq!(said.lost(), 0);
    check_like_the_file(&said, &scenario, &[100, 200]);
}

#[test]
#[ignore = "needs cargo xtask windows"]
fn a_burst_is_no_leak() {
    let scenario = Scenario::new(|machine| {
        machine.process(100, "burst.exe");
        let sockets: Vec<_> = (0..1_000).map(|_| machine.connected(100)).collect();
        for (n, socket) in (0..).zip(sockets) {
            machine.at(3.0 + f64::from(n) / 500.0).abort(socket);
        }
    });
    let said = scenario.trace_for(10).said();
    assert_eq!(said.owner(&100.into())["verdict"], "clean");
    check_like_the_file(&said, &scenario, &[100]);
}

#[test]
#[ignore = "needs cargo xtask windows"]
fn who_is_refused_a_port_is_the_victim() {
    let scenario = Scenario::new(|machine| {
        machine.process(100, "hog.exe");
        machine.process(200, "victim.exe");
        (0..500).for_each(|_| _ = machine.connected(100));
        machine.at(2.0).exhausted(200);
    });
    let said = scenario.trace_and_show(6, "exhausted").said();
    let refusals: Vec<_> = said.of_type("exhausted").collect();
    assert_eq!(refusals.len(), 1, "{refusals:#?}");
    assert_eq!(refusals[0]["owner"]["comm"], "victim.exe");
    let top = &refusals[0]["top_holders"][0];
    assert_eq!((&top["owner"]["comm"], &top["held"]), (&json!("hog.exe"), &json!(500)));
    assert_eq!(said.owner(&200.into())["verdict"], "exhausted");
    check_like_the_file(&said, &scenario, &[100, 200]);
}

#[test]
#[ignore = "needs cargo xtask windows"]
fn a_pid_that_is_used_again_is_another_process() {
    let scenario = Scenario::new(|machine| {
        machine.starts(100, "first.exe", 5);
        (0..7).for_each(|_| _ = machine.bound(100));
        machine.ends(100);
        machine.at(2.0).starts(100, "second.exe", 0);
        (0..5).for_each(|_| _ = machine.bound(100));
    });
    let said = scenario.trace_for(6).said();
    let owners = said.summary()["owners"].as_array().expect("owners");
    let held = |name: &str| {
        let owner = owners.iter().find(|owner| owner["owner"]["comm"] == name);
        owner.unwrap_or_else(|| panic!("no {name} in {owners:#?}"))["tcp"]["held"].as_u64()
    };
    assert_eq!((held("first.exe"), held("second.exe")), (Some(7), Some(5)));
}

/// Five connections and a TIME_WAIT that nobody told of, for they are older than the session.
fn older() -> Vec<Socket> {
    let socket = |n: u16| Socket {
        udp: false,
        pid: if n < 5 { 300 } else { 0 },
        port: 60_000 + n,
        state: if n < 5 { ESTABLISHED } else { TIME_WAIT },
        from_s: 0.0,
        until_s: f64::MAX,
    };
    (0..6).map(socket).collect()
}

#[test]
#[ignore = "needs cargo xtask windows"]
fn older_sockets_are_found() {
    let mut scenario = Scenario::new(|machine| {
        machine.connected(100);
    });
    scenario.plan.sockets.extend(older());
    let said = scenario.trace_for(5).said();
    let tcp = |pid: u32| {
        let tcp = &said.owner(&pid.into())["tcp"];
        (tcp["acquired"].as_u64(), tcp["held"].as_u64())
    };
    assert_eq!((tcp(100), tcp(300)), ((Some(1), Some(1)), (Some(0), Some(5))));
    let pool = said.pools().iter().find(|pool| pool["protocol"] == "tcp").expect("a pool of TCP");
    assert_eq!((&pool["used"], &pool["time_wait"]), (&json!(6), &json!(1)));
}

#[test]
#[ignore = "needs cargo xtask windows"]
fn a_snapshot_lists_who_holds_what() {
    let mut scenario = Scenario::new(|_| {});
    scenario.plan.sockets = older();
    let outcome = scenario.run("snapshot", &["snapshot", "--format", "json"]);
    assert_eq!(outcome.status, Some(0), "{}", outcome.errors);
    let said = Trace::snapshot(&outcome.output);
    assert_eq!(said.owner(&300.into())["tcp"]["held"], 5);
    assert!(outcome.calls_of("StartTraceW").is_empty(), "{:?}", outcome.calls);
}

#[test]
#[ignore = "needs cargo xtask windows"]
fn what_the_session_lost_is_told() {
    let mut scenario = Scenario::with(Form { lost: 12, ..Form::default() }, |machine| {
        machine.process(100, "app.exe");
        (0..60).for_each(|n| _ = machine.at(f64::from(n) / 10.0).connected(100));
    });
    scenario.plan.lost_s = LOST_S;
    // Nobody told that the first twenty were closed, but Windows does not list them any more.
    scenario.plan.sockets[..20].iter_mut().for_each(|socket| socket.until_s = LOST_S);
    let said = scenario.trace_for(WATCHED_S).said();
    let lost: Vec<_> =
        said.of_type("lost").map(|line| (line["count"].clone(), line["stage"].clone())).collect();
    assert_eq!(lost, [(json!(12), json!("etw"))]);
    assert_eq!((said.lost(), said.corrections()), (12, 20));
    assert_eq!(said.owner(&100.into())["tcp"]["held"], 40);
}

/// Drivers of a machine with a network share, and its stacks.
struct Kernel;

impl Kernel {
    const BASE: u64 = 0xffff_f800_0000_0000;
    const DRIVERS: [(u64, &str); 4] =
        [(0x1000, "tcpip"), (0x3000, "afd"), (0x5000, "mrxsmb"), (0x7000, "ntoskrnl")];

    fn stack(machine: &mut Machine, offsets: &[u64]) {
        let addresses: Vec<_> = offsets.iter().map(|offset| Self::BASE + offset).collect();
        machine.stack(&addresses);
    }

    /// System's sockets leak, created from this stack.
    fn leaks(stack: &[u64], name: &str) -> (Scenario, Outcome) {
        let mut scenario = Scenario::new(|machine| {
            Self::DRIVERS.iter().for_each(|(offset, name)| machine.driver(Self::BASE + offset, name));
            Self::stack(machine, stack);
            leaks(machine, 4);
        });
        let driver = |&(offset, name): &(u64, &str)| Driver {
            base: Self::BASE + offset,
            bytes: 0x1000,
            path: format!("\\SystemRoot\\System32\\drivers\\{name}.sys"),
        };
        scenario.plan.drivers = Self::DRIVERS.iter().map(driver).collect();
        let outcome = scenario.trace_and_show(WATCHED_S, name);
        (scenario, outcome)
    }
}

#[test]
#[ignore = "needs cargo xtask windows"]
fn the_driver_that_leaks_is_named() {
    let (scenario, outcome) = Kernel::leaks(&[0x1100, 0x3100, 0x5100, 0x7100], "driver");
    let said = outcome.said();
    let module = json!("mrxsmb");
    let system = owner_of_module(&said, &module);
    assert_eq!((&system["verdict"], &system["tcp"]["held"]), (&json!("leak"), &json!(RATE * LEAK_S)));
    assert_eq!(counts(system), counts(owner_of_module(&scenario.replayed(), &module)));
}

#[test]
#[ignore = "needs cargo xtask windows"]
fn a_leak_of_no_known_driver_is_systems() {
    let (scenario, outcome) = Kernel::leaks(&[0x1100, 0x9100, 0x7100], "unknown-driver");
    let said = outcome.said();
    let system = owner_of_module(&said, &Value::Null);
    assert_eq!((&system["verdict"], &system["tcp"]["held"]), (&json!("leak"), &json!(RATE * LEAK_S)));
    assert_eq!(counts(system), counts(owner_of_module(&scenario.replayed(), &Value::Null)));
}
