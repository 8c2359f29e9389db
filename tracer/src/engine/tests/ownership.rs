//! Holds that change hands.

use super::*;
use crate::event::Totals;

fn owner(pid: u32) -> OwnerId {
    OwnerId::Process(process(pid))
}

fn report(summary: &Summary, id: &OwnerId) -> crate::engine::report::OwnerReport {
    summary.owners.iter().find(|report| report.owner.id == *id).cloned().unwrap()
}

/// parent ──acquire────moved──▶
/// child                ╰──────────release──▶
#[test]
fn a_move_is_a_release_for_the_one_and_taken_over_by_the_other() {
    let mut script = Script::default();
    let hold = script.acquire(0.0, 1);
    script.acquire(0.0, 1);
    script.at(5.0, EventKind::Moved { hold, owner: owner(2) });
    let summary = script.run(Profile::Session, 6.0).summary;
    let (parent, child) = (report(&summary, &owner(1)), report(&summary, &owner(2)));
    let figures = |tcp: &crate::engine::report::ProtocolReport| {
        [tcp.acquired, tcp.released, tcp.moved_in, tcp.moved_out, tcp.held]
    };
    assert_eq!((figures(&parent.tcp), figures(&child.tcp)), ([2, 1, 0, 1, 1], [0, 0, 1, 0, 1]));
    assert_eq!(parent.lifetime.count, 0, "nothing has ended");
    assert_eq!(child.oldest_held_s, Some(6.0), "its birth is kept");
    assert_eq!((summary.pools[0].used, summary.pools[0].destinations[0].used), (2, 2));

    script.release(7.0, hold);
    let summary = script.run(Profile::Session, 8.0).summary;
    let child = report(&summary, &owner(2));
    assert_eq!((figures(&child.tcp), child.lifetime.count), ([0, 1, 1, 0, 0], 1));
}

#[test]
fn states_move_along() {
    let mut script = Script::default();
    let hold = script.acquire(0.0, 1);
    script.at(1.0, EventKind::State { hold, state: SocketState::CloseWait, remote: None });
    script.at(2.0, EventKind::Moved { hold, owner: OwnerId::Unowned });
    let summary = script.run(Profile::Session, 3.0).summary;
    assert_eq!(report(&summary, &owner(1)).tcp.close_wait, 0);
    assert_eq!(report(&summary, &OwnerId::Unowned).tcp.close_wait, 1);
}

#[test]
fn there_and_back_again_and_nowhere() {
    let mut script = Script::default();
    let hold = script.acquire(0.0, 1);
    script.at(1.0, EventKind::Moved { hold, owner: owner(1) });
    script.at(2.0, EventKind::Moved { hold, owner: owner(2) });
    script.at(3.0, EventKind::Moved { hold, owner: owner(1) });
    script.at(3.0, EventKind::Moved { hold: HoldId(99), owner: owner(2) });
    let summary = script.run(Profile::Session, 4.0).summary;
    let (one, two) = (report(&summary, &owner(1)).tcp, report(&summary, &owner(2)).tcp);
    assert_eq!((one.acquired, one.moved_in, one.moved_out, one.held), (1, 1, 1, 1));
    assert_eq!((two.moved_in, two.moved_out, two.held), (1, 1, 0));
}

/// A master that connects and hands every connection to a worker which never closes any.
#[test]
fn the_leak_is_the_workers_that_was_handed_the_connections() {
    let mut script = Script::default();
    script.each(10.0, 0.0, 120.0, |script, second| {
        let hold = script.acquire(second, 1);
        script.at(second + 0.5, EventKind::Moved { hold, owner: owner(2) });
    });
    let summary = script.run(Profile::Session, 120.0).summary;
    assert!(report(&summary, &owner(2)).verdict >= Verdict::Suspected);
    assert!(!report(&summary, &owner(1)).verdict.fails());
}

#[test]
fn the_kernels_totals_agree_with_a_move() {
    let mut script = Script::default();
    let hold = script.acquire(0.0, 1);
    script.at(1.0, EventKind::Moved { hold, owner: owner(2) }).release(2.0, hold);
    let totals = |acquired, released| Totals { acquired, released };
    for (pid, totals) in [(1, totals(1, 1)), (2, totals(0, 1))] {
        script.at(3.0, EventKind::Totals { owner: owner(pid), protocol: Protocol::Tcp, totals, netns: None });
    }
    let summary = script.run(Profile::Session, 4.0).summary;
    assert_eq!([1, 2].map(|pid| report(&summary, &owner(pid)).tcp.held), [0, 0]);
}

#[test]
fn corrections_are_summed() {
    let mut script = Script::default();
    script.at(1.0, EventKind::Corrected { count: 2 }).at(2.0, EventKind::Corrected { count: 1 });
    let outcome = script.run(Profile::Session, 3.0);
    assert_eq!(outcome.summary.corrections, 3);
    assert!(matches!(outcome.findings[..], [Finding::Corrected { count: 2, .. }, _]));
}
