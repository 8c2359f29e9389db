//! Verdicts on traces: leaks, churn, and who is refused a port.

use portleak::engine::report::{Finding, LeakKind, Verdict};
use portleak::source::windows::etl::Trace;
use portleak::source::windows::guid;
use portleak_tests::etl::encode::{RELEASES, Release};
use portleak_tests::etl::machine::Machine;
use portleak_tests::etl::story::replay;
use portleak_tests::etl::writer::Form;
use portleak_tests::program;
use std::io::Cursor;
use std::process::Command;

const WIN11: Release = Release::Win11V23H2;

/// One process never closes; another opens as many and closes them.
#[test]
fn the_process_that_never_closes_leaks() {
    for release in RELEASES {
        let mut machine = Machine::new(release);
        for n in 0..600_u32 {
            machine.at(f64::from(n) / 10.0);
            machine.connected(100);
            let socket = machine.connected(200);
            machine.abort(socket);
        }
        let outcome = replay(machine.end());
        let leaky = outcome.process(100);
        assert_eq!(leaky.verdict, Verdict::Leak, "{release:?}");
        assert_eq!(leaky.evidence[0].kind, LeakKind::Total);
        assert_eq!((leaky.tcp.held, outcome.process(200).tcp.held), (600, 0));
        assert_eq!(outcome.process(200).verdict, Verdict::Clean, "{release:?} {:#?}", outcome.process(200));
    }
}

#[test]
fn time_wait_is_not_taken_for_a_leak() {
    let mut machine = Machine::new(WIN11);
    let mut waiting = std::collections::VecDeque::new();
    for n in 0..6_000_u32 {
        machine.at(f64::from(n) / 20.0);
        let socket = machine.connected(100);
        machine.close_to_time_wait(socket);
        waiting.push_back((n, socket));
        while let Some(&(since, socket)) = waiting.front()
            && n - since > 120 * 20
        {
            machine.time_wait_ends(socket);
            waiting.pop_front();
        }
    }
    let outcome = replay(machine.end());
    assert!(outcome.worst() <= Verdict::Churn, "{:?}", outcome.worst());
    assert_eq!((outcome.process(100).tcp.held, outcome.process(100).tcp.time_wait), (0, 2_401));
}

#[test]
fn who_is_refused_a_port_is_a_victim_once() {
    for release in RELEASES {
        for afd in [true, false] {
            let mut machine = Machine::new(release);
            machine.afd = afd;
            for _ in 0..50 {
                machine.connected(100);
            }
            machine.at(5.0).exhausted(200);
            let outcome = replay(machine.end());
            assert_eq!(outcome.victims(), [(Some(200), 50)], "{release:?} with AFD: {afd}");
            assert_eq!(outcome.process(200).verdict, Verdict::Exhausted);
            let failed: Vec<_> =
                outcome.process(200).tcp.failed.iter().map(|(code, n)| (code.name(), *n)).collect();
            assert_eq!(failed, [("WSAENOBUFS", 1)]);
        }
    }
}

/// Before the first refusal, Windows hands out ports that closing connections still refer to.
#[test]
fn the_last_ports_are_a_warning() {
    let mut machine = Machine::new(WIN11);
    for _ in 0..50 {
        machine.connected(100);
    }
    for n in 0..90 {
        machine.at(f64::from(n)).shared(49_160);
    }
    let outcome = replay(machine.end());
    let warning = |finding: &Finding| match finding {
        Finding::Scarce { count, top_holders, .. } => Some((*count, top_holders[0].1)),
        _ => None,
    };
    assert_eq!(outcome.findings.iter().filter_map(warning).collect::<Vec<_>>(), [(1, 50), (60, 50)]);
}

#[test]
fn udp_runs_out_as_well() {
    for (afd, stack_refuses) in [(true, true), (true, false), (false, true)] {
        let mut machine = Machine::new(WIN11);
        (machine.afd, machine.stack_refuses) = (afd, stack_refuses);
        machine.udp(100);
        machine.at(1.0).udp_exhausted(200);
        machine.at(2.0).udp_exhausted(200);
        let outcome = replay(machine.end());
        let failed: u64 = outcome.process(200).udp.failed.values().sum();
        assert_eq!(failed, 2, "once each, with AFD: {afd}, with the stack: {stack_refuses}");
        assert_eq!(outcome.process(200).tcp.failed.len(), 0);
    }
}

/// 1054 does not say of which protocol; where 1519 does, they are not counted twice.
#[test]
fn ports_that_are_kept_for_others_are_not_the_pools() {
    let usable = |release, udp_usable: u32| {
        let mut machine = Machine::new(release);
        machine.bound(100);
        machine.udp(100);
        machine.reserved(1054, 0, 50_000, 100);
        machine.reserved(1519, 6, 50_000, 100);
        machine.reserved(1519, 17, 65_500, 100);
        machine.reserved(1054, 0, 1_000, 100);
        let outcome = replay(machine.end());
        let usable: Vec<_> =
            outcome.summary.pools.iter().map(|pool| pool.range.expect("a range").usable()).collect();
        assert_eq!(usable, [16_284, udp_usable], "{release:?}");
    };
    usable(Release::Win10V2004, 16_384);
    usable(Release::Win11V23H2, 16_348);
}

#[test]
fn a_trace_without_ports_says_what_to_record() {
    let mut machine = Machine::new(WIN11);
    machine.process(100, "a.exe");
    let error = Trace::of("boot.etl".to_owned(), Cursor::new(machine.end())).expect_err("nothing of ports");
    let text = error.to_string();
    assert!(text.starts_with("boot.etl has no events about ports"), "{text}");
    assert!(text.contains("netsh trace start") && text.contains("Microsoft-Windows-TCPIP"), "{text}");
}

/// The kernel logger's traffic: connections made, met and ended, but not those that were accepted.
#[test]
fn traffic_alone_shows_connections() {
    let traffic = |machine: &mut Machine, opcode: u8, pid: u32, local: u16, remote: u16| {
        let mut payload = [pid.to_le_bytes(), [0; 4], [10, 0, 0, 9], [10, 0, 0, 1]].concat();
        payload.extend([remote.to_be_bytes(), local.to_be_bytes()].concat());
        payload.extend([0; 12]);
        machine.classic(guid::MOF_TCP, opcode, 2, &payload);
    };
    let mut machine = Machine::new(WIN11);
    traffic(&mut machine, 12, 100, 50_000, 443);
    traffic(&mut machine, 10, 100, 50_000, 443);
    traffic(&mut machine, 11, 100, 50_001, 443);
    traffic(&mut machine, 10, 4, 50_002, 445);
    traffic(&mut machine, 15, 100, 60_000, 5_555);
    traffic(&mut machine, 10, 100, 60_000, 5_555);
    traffic(&mut machine, 13, 100, 50_000, 443);
    let outcome = replay(machine.end());
    let tcp = &outcome.process(100).tcp;
    assert_eq!((tcp.acquired, tcp.released, tcp.held), (1, 1, 1));
    assert_eq!(outcome.system(), [(None, 1)]);
    assert!(outcome.capture.degraded.iter().any(|degraded| degraded.feature == "ports"));
}

/// One process leaks ten a second for a minute.
fn leaky(form: Form) -> Vec<u8> {
    let mut machine = Machine::with(WIN11, form);
    machine.process(100, "leaky.exe");
    (0..600_u32).for_each(|n| _ = machine.at(f64::from(n) / 10.0).connected(100));
    machine.end()
}

/// What `portleak replay` says of a trace, on standard output and standard error, and its status.
fn portleak_replay(trace: &[u8]) -> (String, String, Option<i32>) {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), trace).expect("room for a trace");
    let output = Command::new(program::portleak()).arg("replay").arg(file.path()).output();
    let output = output.expect("portleak runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr), output.status.code())
}

#[test]
fn a_trace_that_was_cut_gives_what_is_whole_and_fails() {
    let trace = leaky(Form::default());
    let (text, errors, status) = portleak_replay(&trace[..trace.len() / 2 + 100]);
    assert!(text.contains("leaky.exe") && text.contains("limited: replay it with -v"), "{text}");
    assert!(errors.contains("1 of its"), "{errors}");
    assert_eq!(status, Some(1));
}

/// The whole way: a file, told by its first bytes, judged, and in words.
#[test]
fn a_trace_file_is_replayed_as_a_recording_is() {
    for compressed in [false, true] {
        let (text, errors, status) = portleak_replay(&leaky(Form { compressed, ..Form::default() }));
        assert_eq!(status, Some(0), "{errors}");
        assert!(text.contains("LEAK") && text.contains("leaky.exe"), "{text}");
        assert!(text.contains("10.0.0.9:443"), "{text}");
    }
}
