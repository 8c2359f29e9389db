//! Half of the ports to a destination.

use super::*;

const SMALL: PortRange = PortRange { low: 40_000, high: 40_039, reserved: 0 };

/// A connect whose port the kernel has chosen.
fn connect(script: &mut Script, second: f64, port: u16) -> HoldId {
    let hold = script.acquire_as(second, 1, |acquired| (acquired.port, acquired.range) = (None, Some(SMALL)));
    script.at(second, EventKind::PortLearnt { hold, port });
    hold
}

/// Connects to every port of the first half.
fn first_half(script: &mut Script, second: f64) -> Vec<HoldId> {
    (40_000..40_040).step_by(2).map(|port| connect(script, second, port)).collect()
}

/// Seconds at which it was told, with the ports used.
fn told(script: &Script) -> Vec<(u64, u64)> {
    let findings = script.run(Profile::Production, 100.0).findings;
    let told = findings.iter().filter_map(|finding| match finding {
        Finding::HalfUsed { at_ns, remote, used, usable: 40, .. } if *remote == server() => {
            Some(((at_ns - START_NS) / SECOND_NS, *used))
        }
        _ => None,
    });
    told.collect()
}

#[test]
fn the_first_port_of_the_other_parity_shows_it() {
    let mut script = Script::default();
    first_half(&mut script, 1.0);
    assert_eq!(told(&script), []);
    connect(&mut script, 2.0, 40_001);
    connect(&mut script, 3.0, 40_003);
    assert_eq!(told(&script), [(2, 21)], "once");
}

#[test]
fn it_is_told_again_after_it_receded() {
    let mut script = Script::default();
    let mut holds = first_half(&mut script, 1.0);
    holds.push(connect(&mut script, 2.0, 40_001));
    // Churn around the half, then most of them gone: 9 of 40 is less than a quarter.
    script.release(3.0, holds.pop().unwrap());
    holds.push(connect(&mut script, 4.0, 40_003));
    for hold in holds.drain(9..) {
        script.release(5.0, hold);
    }
    for port in (40_018..40_040).step_by(2).chain([40_005]) {
        connect(&mut script, 6.0, port);
    }
    assert_eq!(told(&script), [(2, 21), (6, 21)]);
}

#[test]
fn ports_in_time_wait_are_used() {
    let mut script = Script::default();
    for hold in first_half(&mut script, 1.0) {
        script.at(2.0, EventKind::TimeWaitBegan { hold }).release(2.0, hold);
    }
    connect(&mut script, 3.0, 40_001);
    assert_eq!(told(&script), [(3, 21)]);
}

#[test]
fn a_port_of_that_parity_for_another_reason_is_no_sign() {
    let mut script = Script::default();
    // A socket with a range of its own.
    connect(&mut script, 1.0, 40_001);
    first_half(&mut script, 2.0);
    // One that was bound first.
    script.acquire_as(3.0, 1, |acquired| (acquired.port, acquired.range) = (Some(40_003), Some(SMALL)));
    assert_eq!(told(&script), []);
}
