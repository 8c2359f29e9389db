//! The self-test's answers for scenarios written here, as Microsoft's documentation describes them.

use portleak::source::windows::etl::Reader;
use portleak::source::windows::selftest::{CapturedEvents, Operation, Scenario, Step, answers};
use portleak_tests::etl::encode::Release;
use portleak_tests::etl::machine::{Machine, Socket};
use std::collections::BTreeMap;
use std::io::Cursor;
use std::net::{Ipv4Addr, SocketAddr};

const OURS: u32 = 4_242;
const KERNEL: u32 = 4;

fn step(operation: Operation, socket: Socket, remote: Option<SocketAddr>) -> Step {
    Step { operation, local: (Ipv4Addr::LOCALHOST, socket.port).into(), remote }
}

/// Every operation once; those that lead to TIME_WAIT `times`.
fn run_steps(machine: &mut Machine, times: usize) -> Vec<Step> {
    let mut steps = Vec::new();
    let bound = machine.bound(OURS);
    machine.close(bound);
    steps.push(step(Operation::Bound, bound, None));
    for _ in 0..times {
        let connected = machine.connected(OURS);
        machine.close_to_time_wait(connected);
        steps.push(step(Operation::Connected, connected, Some(portleak_tests::etl::machine::server())));
    }
    let udp = machine.udp(OURS);
    machine.close_udp(udp);
    steps.push(step(Operation::BoundUdp, udp, None));
    let taken = machine.bound(OURS);
    machine.exhausted(OURS);
    steps.push(step(Operation::InUse, taken, None));
    steps
}

/// Question and answer.
fn answered(machine: Machine, steps: Vec<Step>) -> BTreeMap<String, Option<String>> {
    let mut captured = CapturedEvents::default();
    let mut reader = Reader::open(Cursor::new(machine.end()), |_, _, _| {}).expect("a trace");
    while reader.read(1_000, |_, _, record| captured.observe(record)).expect("a whole trace") {}
    let scenario = Scenario { pid: OURS, steps, captured_s: 7 };
    answers(&captured, &scenario).into_iter().map(|answer| (answer.question, answer.observed)).collect()
}

fn answer<'a>(answered: &'a BTreeMap<String, Option<String>>, words: &str) -> &'a str {
    let (_, observed) = answered.iter().find(|(question, _)| question.contains(words)).expect("a question");
    observed.as_deref().unwrap_or("not observed")
}

#[test]
fn a_machine_as_it_is_described_answers_every_question() {
    let mut machine = Machine::new(Release::Win11V23H2);
    let steps = run_steps(&mut machine, 3);
    machine.stack(&[0xffff_8000_0000_1010, 0xffff_8000_0000_9010]);
    machine.bound(KERNEL);
    machine.found(900, 50_000, 4);
    let answered = answered(machine, steps);
    assert_eq!(answer(&answered, "own sockets take"), "5 of 5 acquired, 5 released");
    assert!(answer(&answered, "byte order").starts_with("the machine's"), "{answered:?}");
    assert_eq!(answer(&answered, "of 1191 the endpoint"), "yes (4 times)");
    assert_eq!(answer(&answered, "of 1192 the connection"), "yes (3 times)");
    assert_eq!(answer(&answered, "keep a reference"), "yes, longer than the 7 s that the test waited");
    assert_eq!(
        answer(&answered, "failed bind"),
        "AFD 1029 with status 0xc0000209, TCPIP 1006 with status 0xc0000209"
    );
    assert_eq!(answer(&answered, "1 to 41"), "no record of them was seen");
    assert_eq!(answer(&answered, "AFD report the kernel"), "yes: 2 creations");
    assert_eq!(answer(&answered, "which pid"), "4 (written by process 4)");
    assert_eq!(answer(&answered, "capture-state"), "yes: 1 connection");
    assert_eq!(
        answer(&answered, "a stack"),
        "ours: 0 of 7, 0 with frames of the kernel; the kernel's: 1 of 1, 1 with frames of the kernel"
    );
    assert!(answer(&answered, "how many events").starts_with("about 1"), "{answered:?}");
    assert_eq!(answer(&answered, "losses"), "not observed");
    assert!(answer(&answered, "be decoded").starts_with("yes, all "), "{answered:?}");
}

#[test]
fn a_machine_that_differs_from_the_documentation() {
    let mut machine = Machine::new(Release::Win10V1607);
    (machine.network_order, machine.acquirer_offset) = (true, 0x28);
    let connected = machine.connected(OURS);
    machine.close_to_time_wait(connected);
    machine.at(120.0).time_wait_ends(connected);
    let steps = vec![step(Operation::Connected, connected, Some(portleak_tests::etl::machine::server()))];
    let answered = answered(machine, steps);
    assert!(answer(&answered, "byte order").starts_with("the network's"), "{answered:?}");
    assert_eq!(answer(&answered, "of 1191 the endpoint"), "no, but always 40 bytes from it (1 times)");
    assert!(answer(&answered, "keep a reference").starts_with("yes: 1193 comes 119.9"), "{answered:?}");
}

#[test]
fn silence_is_no_answer() {
    let steps = vec![step(Operation::Bound, Machine::new(Release::Win7).bound(OURS), None)];
    let answered = answered(Machine::new(Release::Win7), steps);
    assert_eq!(answer(&answered, "own sockets take"), "0 of 1 acquired, 0 released");
    for words in
        ["byte order", "of 1191", "of 1192", "keep a reference", "failed bind", "which pid", "a stack"]
    {
        assert_eq!(answer(&answered, words), "not observed", "{words}");
    }
}
