//! The bounded view, and the levels of the past.

use super::*;
use crate::engine::history::{Resolution, Subject};
use crate::engine::limits::Limits;
use crate::engine::view::ViewLimits;

fn engine(script: &Script, limits: Limits, until: u64) -> Engine {
    let mut events = script.events.clone();
    events.sort_by_key(|event| event.at_ns);
    let mut engine = Engine::with_limits(Config::default(), limits, START_NS);
    events.iter().for_each(|event| engine.apply(event));
    engine.advance(START_NS + until * SECOND_NS + SECOND_NS / 50);
    engine
}

/// One leaks ten ports a second; 20 others come and go.
fn busy() -> Script {
    let mut script = Script::default();
    script.each(10.0, 0.0, 60.0, |script, second| _ = script.acquire(second, 1));
    script.each(20.0, 0.0, 60.0, |script, second| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a test's pid")]
        let pid = 100 + (second * 20.0) as u32 % 20;
        script.connection(second, pid, 0.5);
    });
    script
}

#[test]
fn it_shows_the_gravest_first_and_no_more_than_asked_for() {
    let now_ns = START_NS + 60 * SECOND_NS;
    let engine = engine(&busy(), Limits::default(), 60);
    let view = engine.view(now_ns, ViewLimits { owners: 3, pools: 1 });
    assert_eq!((view.owners.len(), view.owners_total, view.pools.len()), (3, 21, 1));
    let first = &view.owners[0];
    assert_eq!((&first.owner.id, first.tcp.held), (&OwnerId::Process(process(1)), 600));
    assert!(first.verdict >= Verdict::Suspected && !first.evidence.is_empty());
    let (acquired, released) = first.rates_per_s.unwrap();
    assert!((9.0..=11.0).contains(&acquired) && released == 0.0, "{acquired} and {released} a second");
    let summary = engine.summary(now_ns);
    assert_eq!(view.held, summary.owners.iter().map(|owner| owner.tcp.held).sum::<u64>());
    let order: Vec<_> = summary.owners.iter().map(|owner| (owner.verdict, owner.tcp.held)).take(3).collect();
    assert_eq!(view.owners.iter().map(|owner| (owner.verdict, owner.tcp.held)).collect::<Vec<_>>(), order);
}

#[test]
fn history_has_every_second_of_an_owner_a_pool_and_a_destination() {
    let engine = engine(&busy(), Limits::default(), 60);
    let owner = engine.history(&Subject::Owner(OwnerId::Process(process(1))), Resolution::Second);
    let held = |second: u64| {
        let at_ns = START_NS + second * SECOND_NS;
        owner.iter().rev().find(|point| point.at_ns <= at_ns).map(|point| point.levels.held)
    };
    assert_eq!([10, 30, 60].map(held), [Some(101), Some(301), Some(600)]);
    let pool = pool(Protocol::Tcp);
    let last =
        |subject| engine.history(&subject, Resolution::TenSeconds).last().map(|point| point.levels.held);
    assert!(last(Subject::Pool(pool)) >= Some(600));
    assert!(last(Subject::Destination(pool, server())) >= Some(600));
}

#[test]
fn history_is_bounded_and_keeps_the_largest() {
    let limits = Limits { history_owners: 2, ..Limits::default() };
    let engine = engine(&busy(), limits, 60);
    let has =
        |pid| !engine.history(&Subject::Owner(OwnerId::Process(process(pid))), Resolution::Minute).is_empty();
    assert!(has(1));
    assert!((100..120).filter(|&pid| has(pid)).count() <= 1);
}
