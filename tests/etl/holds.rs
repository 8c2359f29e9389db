//! The life of ports on Windows: holder sets, owners, TIME_WAIT, pointers that are used again.

use portleak::engine::Config;
use portleak::engine::report::{Finding, OwnerReport};
use portleak::engine::scope::Scope;
use portleak::event::{Frame, LossStage, OwnerId};
use portleak::source::windows::guid;
use portleak_tests::etl::encode::{RELEASES, Release, wide};
use portleak_tests::etl::machine::Machine;
use portleak_tests::etl::story::{replay, replay_with, session};
use portleak_tests::etl::writer::Form;
use std::collections::BTreeMap;

const WIN11: Release = Release::Win11V23H2;

/// Acquired, released, held, bound only, in TIME_WAIT.
fn tcp(file: Vec<u8>, pid: u32) -> (u64, u64, u64, u64, u64) {
    let outcome = replay(file);
    let tcp = &outcome.process(pid).tcp;
    (tcp.acquired, tcp.released, tcp.held, tcp.held_bound_only, tcp.time_wait)
}

#[test]
fn a_port_is_held_from_bind_to_close_on_every_release() {
    for release in RELEASES {
        for afd in [true, false] {
            let mut machine = Machine::new(release);
            machine.afd = afd;
            let closed = machine.bound(100);
            machine.bound(100);
            machine.close(closed);
            assert_eq!(tcp(machine.end(), 100), (2, 1, 1, 1, 0), "{release:?} with AFD: {afd}");
        }
    }
}

/// ```text
/// bind   connect   refused        close
///  |bound | SYN_SENT | bound again  | free
/// ```
#[test]
fn a_refused_connection_leaves_the_port_with_its_socket() {
    let mut machine = Machine::new(WIN11);
    let socket = machine.connecting(100);
    machine.refused(socket);
    let outcome = replay(machine.end());
    let report = &outcome.process(100).tcp;
    assert_eq!((report.held, report.held_bound_only, report.syn_sent), (1, 1, 0));

    let mut machine = Machine::new(WIN11);
    let socket = machine.connecting(100);
    machine.refused(socket);
    machine.close(socket);
    assert_eq!(tcp(machine.end(), 100), (1, 1, 0, 0, 0));
}

/// ```text
/// closesocket()   FIN_WAIT   TIME_WAIT             its end
///  | closing                 | released, TIME_WAIT | nothing
/// ```
#[test]
fn time_wait_is_no_hold_and_lasts_until_the_port_is_released() {
    for release in RELEASES {
        let mut machine = Machine::new(release);
        let ended = machine.connected(100);
        let waits = machine.connected(100);
        machine.close_to_time_wait(ended);
        machine.close_to_time_wait(waits);
        machine.at(60.0).time_wait_ends(ended);
        assert_eq!(tcp(machine.end(), 100), (2, 2, 0, 0, 1), "{release:?}");
    }
}

#[test]
fn a_socket_that_is_never_closed_is_held_through_time_wait() {
    let mut machine = Machine::new(WIN11);
    let socket = machine.connected(100);
    machine.state(socket, 10);
    assert_eq!(tcp(machine.end(), 100), (1, 0, 1, 0, 1));
}

#[test]
fn the_peers_close_is_seen() {
    let mut machine = Machine::new(WIN11);
    let socket = machine.connected(100);
    machine.state(socket, 7);
    let outcome = replay(machine.end());
    assert_eq!((outcome.process(100).tcp.held, outcome.process(100).tcp.close_wait), (1, 1));
}

#[test]
fn an_abort_frees_the_port() {
    let mut machine = Machine::new(WIN11);
    let socket = machine.connected(100);
    machine.abort(socket);
    assert_eq!(tcp(machine.end(), 100), (1, 1, 0, 0, 0));
}

#[test]
fn udp_ports_are_held_from_bind_to_close() {
    for release in RELEASES.into_iter().filter(|release| *release >= Release::Win10V1607) {
        let mut machine = Machine::new(release);
        let closed = machine.udp(100);
        machine.udp(100);
        machine.close_udp(closed);
        let outcome = replay(machine.end());
        let udp = &outcome.process(100).udp;
        assert_eq!((udp.acquired, udp.released, udp.held), (2, 1, 1), "{release:?}");
    }
}

#[test]
fn an_endpoints_address_that_is_used_again_ends_what_was_there() {
    let mut machine = Machine::new(WIN11);
    let before = machine.bound(100);
    machine.bound_at(200, before);
    let outcome = replay(machine.end());
    assert_eq!((outcome.process(100).tcp.held, outcome.process(200).tcp.held), (0, 1));
}

#[test]
fn connections_from_before_are_found_and_end() {
    let mut machine = Machine::new(WIN11);
    let closes = machine.found(100, 50_000, 4);
    machine.found(100, 50_001, 7);
    machine.found(0, 50_002, 10);
    machine.found(100, 80, 4); // Its port is not of the pool.
    machine.close_to_time_wait(closes);
    machine.time_wait_ends(closes);
    let outcome = replay(machine.end());
    let tcp = &outcome.process(100).tcp;
    assert_eq!((tcp.acquired, tcp.released, tcp.held, tcp.close_wait), (0, 1, 1, 1));
    assert_eq!(outcome.summary.pools[0].time_wait, 1);
}

#[test]
fn a_socket_bound_before_is_met_when_it_connects() {
    let mut before = Machine::new(WIN11);
    let socket = before.bound(100);
    let mut machine = Machine::new(WIN11);
    machine.connect(socket);
    let outcome = replay(machine.end());
    let tcp = &outcome.process(100).tcp;
    assert_eq!((tcp.acquired, tcp.held, tcp.syn_sent), (0, 1, 1));
}

#[test]
fn ports_outside_the_pool_are_not_counted() {
    let mut machine = Machine::new(WIN11);
    machine.bound(100);
    let outcome = replay(machine.end());
    assert_eq!(outcome.summary.pools[0].used, 1);
}

/// The header of an event has the pid of whatever thread it was written on.
#[test]
fn the_owner_is_the_one_that_the_event_names() {
    let mut machine = Machine::new(WIN11);
    machine.bound_by(100, 4);
    let outcome = replay(machine.end());
    assert_eq!(outcome.process(100).tcp.held, 1);
    assert!(outcome.system().is_empty());
}

#[test]
fn a_pid_that_is_used_again_is_another_process() {
    for release in RELEASES {
        let mut machine = Machine::new(release);
        machine.starts(100, "first.exe", 5);
        machine.bound(100);
        machine.ends(100);
        machine.at(10.0).starts(100, "second.exe", 0);
        machine.bound(100);
        let outcome = replay(machine.end());
        let names: BTreeMap<_, _> = outcome
            .summary
            .owners
            .iter()
            .map(|report| {
                let facts = report.owner.facts.as_ref().expect("both are named");
                (facts.comm.to_string(), report.tcp.held)
            })
            .collect();
        let expected = [("first.exe".to_owned(), 1), ("second.exe".to_owned(), 1)];
        assert_eq!(names, expected.into(), "{release:?}");
    }
}

/// Nobody says that the acquirer of a port is called as the endpoint is that was created.
#[test]
fn an_endpoint_may_have_two_names() {
    let mut machine = Machine::new(WIN11);
    machine.acquirer_offset = 0x40;
    let closed = machine.connected(100);
    machine.connected(100);
    machine.close_to_time_wait(closed);
    machine.time_wait_ends(closed);
    assert_eq!(tcp(machine.end(), 100), (2, 1, 1, 0, 0));
}

#[test]
fn ports_are_read_in_whatever_order_they_are_written() {
    let mut machine = Machine::new(WIN11);
    machine.network_order = true;
    let sockets: Vec<_> = (0..5).map(|_| machine.connected(100)).collect();
    machine.close(sockets[0]);
    let outcome = replay(machine.end());
    assert_eq!((outcome.process(100).tcp.acquired, outcome.summary.pools[0].used), (5, 5));
}

#[test]
fn system_is_split_by_the_driver_on_the_stack() {
    let kernel = |offset: u64| 0xffff_f800_0000_0000 + offset;
    let mut machine = Machine::new(WIN11);
    for (offset, name) in [(0x1000, "tcpip"), (0x3000, "afd"), (0x5000, "mrxsmb"), (0x7000, "ntoskrnl")] {
        machine.driver(kernel(offset), name);
    }
    machine.stack(&[0x1100, 0x3100, 0x5100, 0x7100].map(kernel));
    machine.bound(4);
    machine.bound(4);
    machine.stack(&[0x1100, 0x7100].map(kernel));
    machine.bound(4);
    let outcome = replay(machine.end());
    assert_eq!(outcome.system(), [(None, 1), (Some("mrxsmb"), 2)]);
}

/// Which of a driver's sockets it is that stay open.
#[test]
fn a_leaking_driver_is_shown_with_its_call_site() {
    let kernel = |offset: u64| 0xffff_f800_0000_0000 + offset;
    let mut machine = Machine::new(WIN11);
    for (offset, name) in [(0x1000, "tcpip"), (0x3000, "afd"), (0x5000, "mrxsmb"), (0x7000, "ntoskrnl")] {
        machine.driver(kernel(offset), name);
    }
    machine.stack(&[0x1100, 0x3100, 0x5100, 0x9000, 0x7100].map(kernel));
    for n in 0..600_u32 {
        machine.at(f64::from(n) / 10.0).bound(4);
    }
    let outcome = replay(machine.end());
    let system = |report: &&OwnerReport| matches!(report.owner.id, OwnerId::System { .. });
    let report = outcome.summary.owners.iter().find(system).expect("System holds ports");
    let named = |name: &str| Frame::Named { name: name.into(), module: None };
    let expected = [named("mrxsmb+0x100"), Frame::Address(kernel(0x9000)), named("ntoskrnl+0x100")];
    let site = report.evidence[0].site.as_ref().expect("where it is");
    assert_eq!(&*site.frames, expected);
}

#[test]
fn a_host_of_services_has_their_names() {
    let mut machine = Machine::new(WIN11);
    machine.bound(100);
    machine.process(100, "svchost.exe");
    for name in ["Dhcp", "Dnscache"] {
        let mut payload = [100_u32, 4, 7].map(u32::to_le_bytes).concat();
        payload.extend([name, "what it is", "svchost.exe"].map(wide).concat());
        machine.classic(guid::MOF_CONFIG, 15, 2, &payload);
    }
    let outcome = replay(machine.end());
    let facts = outcome.process(100).owner.facts.as_ref().expect("it is known");
    assert_eq!((&*facts.comm, facts.service.as_deref()), ("svchost.exe", Some("Dhcp, Dnscache")));
}

#[test]
fn what_the_session_lost_is_told() {
    let mut machine = Machine::with(WIN11, Form { lost: 12, ..Form::default() });
    machine.bound(100);
    let outcome = replay(machine.end());
    assert!(matches!(outcome.findings[0], Finding::Lost { count: 12, stage: LossStage::Etw, .. }));
    assert_eq!(outcome.summary.lost, 12);
}

#[test]
fn a_process_has_its_name_and_when_it_started() {
    let mut machine = Machine::new(WIN11);
    machine.bound(100);
    // Lists of processes stand at the end of some traces.
    machine.process(100, "leaky.exe");
    let outcome = replay(machine.end());
    let owner = &outcome.process(100).owner;
    let facts = owner.facts.as_ref().expect("it is known");
    assert_eq!((&*facts.comm, facts.ppid), ("leaky.exe", Some(700)));
    let OwnerId::Process(id) = owner.id else { panic!("a process") };
    let clock = outcome.capture.clock;
    let ago_ns = i128::from(clock.monotonic_ns) - i128::from(id.started_ticks) * 100;
    assert_eq!(
        ago_ns,
        if clock.monotonic_ns > 3_600_000_000_000 {
            3_600_000_000_000
        } else {
            i128::from(clock.monotonic_ns)
        }
    );
}

/// Only the command that `portleak run` has started, and what came of it.
#[test]
fn descendants_are_followed() {
    let mut machine = Machine::new(WIN11);
    machine.starts(700, "command.exe", 0);
    machine.starts(100, "child.exe", 0); // Of 700, as all that start here.
    machine.bound(100);
    machine.bound(200);
    let scope = Scope { descendants_of: Some(700), ..Scope::default() };
    let outcome = replay_with(machine.end(), Config { scope, ..session() });
    assert_eq!(outcome.process(100).tcp.held, 1);
    let others = |report: &OwnerReport| matches!(report.owner.id, OwnerId::Process(id) if id.pid == 200);
    assert!(!outcome.summary.owners.iter().any(others));
}
