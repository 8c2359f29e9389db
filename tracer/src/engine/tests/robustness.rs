//! What goes wrong on the way never makes a leak of healthy traffic by itself.

use super::*;
use crate::event::LossStage;
use proptest::prelude::*;
use std::collections::BTreeMap;

const SECONDS: u64 = 400;
const MILLISECOND_NS: u64 = 1_000_000;

/// Start in milliseconds, pid, life in milliseconds.
type Use = (u64, u32, u64);

/// Healthy: everything ends within 20 s.
fn uses() -> impl Strategy<Value = Vec<Use>> {
    prop::collection::vec((0..SECONDS * 1_000, 1u32..3, 1u64..20_000), 300..1_000)
}

fn script(uses: &[Use]) -> Script {
    let mut script = Script::default();
    for &(began, pid, life) in uses {
        let hold = script.acquire(began as f64 / 1e3, pid);
        script.release((began + life) as f64 / 1e3, hold);
    }
    script.events.sort_by_key(|event| event.at_ns);
    script
}

/// The gravest verdict on events in the order given, and why.
fn worst(events: &[Event], profile: Profile) -> (Verdict, String) {
    let mut engine = Engine::new(Config { profile, ..Config::default() }, START_NS);
    events.iter().for_each(|event| engine.apply(event));
    engine.advance(START_NS + (SECONDS + 60) * SECOND_NS);
    let verdicts = engine.take_findings().into_iter().filter_map(|finding| match finding {
        Finding::Verdict { at_ns, verdict, evidence, .. } => {
            Some((verdict, format!("{} s: {evidence:?}", (at_ns - START_NS) / SECOND_NS)))
        }
        _ => None,
    });
    verdicts.max_by_key(|&(verdict, _)| verdict).unwrap_or_default()
}

fn check(events: &[Event]) -> Result<(), TestCaseError> {
    for profile in [Profile::Session, Profile::Production] {
        let (verdict, why) = worst(events, profile);
        prop_assert!(verdict < Verdict::Suspected, "{:?}: {}", profile, why);
    }
    Ok(())
}

/// Loses every so manieth event; each second what is held is told again, as the source does.
fn lose(events: Vec<Event>, every: usize) -> Vec<Event> {
    let mut told = Vec::new();
    let mut live = BTreeMap::new();
    let mut second = 0;
    for (count, event) in events.into_iter().enumerate() {
        while (event.at_ns - START_NS) / SECOND_NS > second {
            second += 1;
            let at_ns = START_NS + second * SECOND_NS;
            let tell = |kind| Event { at_ns, kind };
            told.push(tell(EventKind::Lost { count: 1, stage: LossStage::Kernel }));
            told.push(tell(EventKind::ResyncBegan));
            told.extend(live.values().map(|held: &Acquired| tell(EventKind::Confirmed(held.clone()))));
            told.push(tell(EventKind::ResyncEnded));
        }
        match &event.kind {
            EventKind::Acquired(acquired) => _ = live.insert(acquired.hold, acquired.clone()),
            EventKind::Released { hold } => _ = live.remove(hold),
            _ => {}
        }
        if count % every != 0 {
            told.push(event);
        }
    }
    told
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn order_within_10_ms(uses in uses(), late in prop::collection::vec(0..10 * MILLISECOND_NS, 1..50)) {
        let mut events: Vec<_> = script(&uses).events.into_iter().zip(late.into_iter().cycle()).collect();
        events.sort_by_key(|(event, late)| event.at_ns + late);
        let events: Vec<Event> = events.into_iter().map(|(event, _)| event).collect();
        check(&events)?;
        let mut engine = Engine::new(Config::default(), START_NS);
        events.iter().for_each(|event| engine.apply(event));
        let end_ns = START_NS + (SECONDS + 60) * SECOND_NS;
        engine.advance(end_ns);
        prop_assert!(engine.summary(end_ns).owners.iter().all(|owner| owner.tcp.held == 0), "nothing is left over");
    }

    #[test]
    fn losses(uses in uses(), every in 2usize..100) {
        check(&lose(script(&uses).events, every))?;
    }

    #[test]
    fn clock_steps(uses in uses(), at in 0..SECONDS, back_s in 0u64..10, forth_s in prop_oneof![0u64..10, 0u64..100_000]) {
        let mut events = script(&uses).events;
        for event in events.iter_mut().filter(|event| event.at_ns >= START_NS + at * SECOND_NS) {
            event.at_ns = event.at_ns + forth_s * SECOND_NS - back_s * SECOND_NS;
        }
        check(&events)?;
    }

    #[test]
    fn reused_cookies(uses in uses(), cookies in 100u64..1_000) {
        let mut events = script(&uses).events;
        for event in &mut events {
            match &mut event.kind {
                EventKind::Acquired(acquired) => acquired.hold.0 %= cookies,
                EventKind::Released { hold } => hold.0 %= cookies,
                _ => {}
            }
        }
        check(&events)?;
    }
}
