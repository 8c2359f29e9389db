//! Series that rest: they cost nothing, and nobody can tell.

use super::*;
use crate::engine::detector::Second;
use crate::engine::detector::Thresholds;
use crate::engine::detector::features::Features;
use crate::engine::detector::policy::{
    Decision, Judgement, LifetimePolicy, Policy, SeriesPolicy, Surroundings,
};
use crate::engine::series_index::SeriesIndex;
use proptest::prelude::*;

/// The policy in use, but it never rests.
#[derive(Debug)]
struct Eager(LifetimePolicy);

#[derive(Debug)]
struct EagerSeries(Box<dyn SeriesPolicy>);

impl Policy for Eager {
    fn begin(&self) -> Box<dyn SeriesPolicy> {
        Box::new(EagerSeries(self.0.begin()))
    }
}

impl SeriesPolicy for EagerSeries {
    fn judge(&mut self, features: &Features, now: Second, around: Surroundings) -> Decision {
        Decision { rests: false, ..self.0.judge(features, now, around) }
    }

    fn verdict(&self) -> Verdict {
        self.0.verdict()
    }

    fn judgement(&self, features: &Features, now: Second, around: Surroundings) -> Judgement {
        self.0.judgement(features, now, around)
    }
}

fn engine(profile: Profile, eager: bool) -> Engine {
    let config = Config { profile, ..Config::default() };
    let policy = LifetimePolicy::new(Thresholds::of(profile));
    if eager {
        Engine::with_policy(config, START_NS, Box::new(Eager(policy)))
    } else {
        Engine::new(config, START_NS)
    }
}

fn awake(engine: &Engine) -> usize {
    engine.series.awake()
}

/// Plays a script, answering idle queries every few seconds: every third hold is used.
fn play(script: &Script, mut engine: Engine, until_s: u64) -> (Vec<Finding>, Summary) {
    let mut events = script.events.clone();
    events.sort_by_key(|event| event.at_ns);
    let mut next = events.iter().peekable();
    let mut findings = Vec::new();
    for second in (0..until_s).step_by(3) {
        let now_ns = START_NS + second * SECOND_NS;
        while let Some(event) = next.next_if(|event| event.at_ns <= now_ns) {
            engine.apply(event);
        }
        engine.advance(now_ns);
        for hold in engine.take_idle_queries() {
            let idle_ns = if hold.0.is_multiple_of(3) { 0 } else { second * SECOND_NS };
            engine.apply(&Event { at_ns: now_ns, kind: EventKind::Idle { hold, idle_ns } });
        }
        findings.extend(engine.take_findings());
    }
    (findings, engine.summary(START_NS + until_s * SECOND_NS))
}

/// Bursts, pools, leaks and single connections, with long silence between them.
fn scripts() -> impl Strategy<Value = Script> {
    let state = prop::sample::select(vec![
        SocketState::Connected,
        SocketState::CloseWait,
        SocketState::SynSent,
        SocketState::Bound,
    ]);
    let lives = prop::option::weighted(0.6, 0.1..900.0);
    let some = (0.0..2_500.0, 1u32..4, 1u32..40, 0.01..40.0, lives, state, any::<bool>());
    prop::collection::vec(some, 1..8).prop_map(|all| {
        let mut script = Script::default();
        for (from, pid, count, apart, lives, state, time_wait) in all {
            for number in 0..count {
                let second = from + f64::from(number) * apart;
                let hold = script.acquire_as(second, pid, |acquired| {
                    acquired.state = state;
                    acquired.remote =
                        Some(SocketAddr::from(([10, 0, 0, 1], 80 + u16::try_from(pid % 2).unwrap())));
                });
                let Some(lives_s) = lives else { continue };
                if time_wait {
                    script.at(second + lives_s, EventKind::TimeWaitBegan { hold });
                    script.at(second + lives_s + 60.0, EventKind::TimeWaitEnded { hold });
                }
                script.release(second + lives_s, hold);
            }
        }
        script
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn resting_changes_no_verdict(script in scripts(), production in any::<bool>()) {
        let profile = if production { Profile::Production } else { Profile::Session };
        let lazy = play(&script, engine(profile, false), 4_000);
        let eager = play(&script, engine(profile, true), 4_000);
        prop_assert_eq!(lazy.0, eager.0);
        prop_assert_eq!(lazy.1, eager.1);
    }

    #[test]
    fn nor_after_a_gap_that_nobody_lived_through(script in scripts(), later in 2_500.0..8_000.0) {
        let mut script = script;
        script.each(2.0, later, later + 90.0, |script, second| _ = script.acquire(second, 1));
        let run = |eager| {
            let mut engine = engine(Profile::Session, eager);
            let mut events = script.events.clone();
            events.sort_by_key(|event| event.at_ns);
            events.iter().for_each(|event| engine.apply(event));
            (engine.take_findings(), engine.summary(events[events.len() - 1].at_ns))
        };
        prop_assert_eq!(run(false), run(true));
    }
}

#[test]
fn a_pool_that_was_opened_long_ago_rests() {
    let mut script = Script::default();
    script.each(5.0, 0.0, 40.0, |script, second| _ = script.acquire(second, 1));
    let mut engine = engine(Profile::Production, false);
    script.events.iter().for_each(|event| engine.apply(event));
    engine.advance(START_NS + 100 * SECOND_NS);
    assert!(awake(&engine) > 0);
    engine.advance(START_NS + 1_200 * SECOND_NS);
    assert_eq!(awake(&engine), 0);
    let late = Event { at_ns: START_NS + 1_300 * SECOND_NS, kind: EventKind::Released { hold: HoldId(0) } };
    engine.apply(&late);
    assert!(awake(&engine) > 0);
}

#[test]
fn a_process_that_came_and_went_rests_until_its_series_are_dropped() {
    let mut script = Script::default();
    let hold = script.acquire(1.0, 1);
    script.release(1.5, hold);
    let mut engine = engine(Profile::Production, false);
    script.events.iter().for_each(|event| engine.apply(event));
    let mut counts = |second: u64| {
        engine.advance(START_NS + second * SECOND_NS + SECOND_NS / 2);
        (awake(&engine), engine.series.iter().count() > 0)
    };
    assert_eq!([5, 60, 70].map(&mut counts), [(0, true), (0, true), (0, false)]);
}

#[test]
fn a_full_index_evicts_what_is_missed_least() {
    let mut engine = engine(Profile::Session, false);
    engine.series = SeriesIndex::new(Box::new(LifetimePolicy::new(Thresholds::of(Profile::Session))), 32);
    let mut script = Script::default();
    // One connection each to many servers, and a leak to one.
    for number in 0..200_u16 {
        let to = SocketAddr::from(([10, 0, 0, 1], 1_000 + number));
        script.acquire_as(f64::from(number) * 0.5, 1, |acquired| acquired.remote = Some(to));
    }
    script.each(2.0, 10.0, 400.0, |script, second| _ = script.acquire(second, 2));
    script.events.sort_by_key(|event| event.at_ns);
    script.events.iter().for_each(|event| engine.apply(event));
    engine.advance(START_NS + 400 * SECOND_NS);
    let summary = engine.summary(START_NS + 400 * SECOND_NS);
    let leaks = summary.owners.iter().filter(|owner| owner.verdict == Verdict::Leak);
    assert_eq!(leaks.map(|owner| owner.owner.id.clone()).collect::<Vec<_>>(), [OwnerId::Process(process(2))]);
    assert!(summary.evicted > 100, "{}", summary.evicted);
}
