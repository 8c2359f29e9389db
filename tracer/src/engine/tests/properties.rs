//! What holds for every stream.

use super::*;
use proptest::prelude::*;

/// A process acquires at a time and gives back after a while, or never.
type Use = (f64, u32, Option<f64>);

fn uses() -> impl Strategy<Value = Vec<Use>> {
    let lifetime = prop::option::weighted(0.8, 0.001..30.0);
    prop::collection::vec((0.0..60.0, 1u32..5, lifetime), 0..400)
}

fn script(uses: &[Use]) -> Script {
    let mut script = Script::default();
    for &(second, pid, lifetime) in uses {
        let hold = script.acquire(second, pid);
        lifetime.into_iter().for_each(|lives_s| _ = script.release(second + lives_s, hold));
    }
    script.events.sort_by_key(|event| event.at_ns);
    script
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn how_events_are_batched_changes_nothing(uses in uses(), every in 1usize..50) {
        let script = script(&uses);
        let whole = script.run(Profile::Session, 100.0);
        let mut engine = Engine::new(Config::default(), START_NS);
        let mut findings = Vec::new();
        for (count, event) in script.events.iter().enumerate() {
            engine.apply(event);
            if count % every == 0 {
                engine.advance(event.at_ns);
                findings.extend(engine.take_findings());
            }
        }
        let end_ns = START_NS + 100 * SECOND_NS;
        engine.advance(end_ns);
        findings.extend(engine.take_findings());
        prop_assert_eq!(findings, whole.findings);
        prop_assert_eq!(engine.summary(end_ns), whole.summary);
    }

    #[test]
    fn the_sums_agree(uses in uses()) {
        let summary = script(&uses).run(Profile::Session, 100.0).summary;
        let (mut held, mut acquired) = (0, 0);
        for owner in &summary.owners {
            prop_assert_eq!(owner.tcp.held, owner.tcp.acquired - owner.tcp.released);
            prop_assert_eq!(owner.lifetime.count, owner.tcp.released);
            held += owner.tcp.held;
            acquired += owner.tcp.acquired;
        }
        prop_assert_eq!(acquired, uses.len() as u64);
        prop_assert_eq!(held, uses.iter().filter(|(_, _, lifetime)| lifetime.is_none()).count() as u64);
        let towards: u64 = summary.pools.iter().flat_map(|pool| &pool.destinations).map(|to| to.used).sum();
        prop_assert_eq!(towards, held);
    }

    #[test]
    fn any_stream_is_taken(kinds in prop::collection::vec((0u64..30, 0u8..10, 0u64..100_000_000_000), 0..300)) {
        let mut engine = Engine::new(Config::default(), START_NS);
        let mut source = Script::default();
        source.acquire(0.0, 1);
        let EventKind::Acquired(template) = source.events[0].kind.clone() else { unreachable!() };
        for (id, kind, at_ns) in kinds {
            let hold = HoldId(id);
            let kind = match kind {
                0 => EventKind::Acquired(Acquired { hold, ..template.clone() }),
                1 => EventKind::Released { hold },
                2 => EventKind::State { hold, state: SocketState::CloseWait, remote: None },
                3 => EventKind::State { hold, state: SocketState::Bound, remote: None },
                4 => EventKind::TimeWaitBegan { hold },
                5 => EventKind::TimeWaitEnded { hold },
                6 => EventKind::ResyncBegan,
                7 => EventKind::ResyncEnded,
                8 => EventKind::Moved { hold, owner: OwnerId::Unowned },
                _ => EventKind::PortLearnt { hold, port: 40_000 },
            };
            engine.apply(&Event { at_ns: START_NS + at_ns, kind });
        }
        engine.advance(START_NS + 200 * SECOND_NS);
        let summary = engine.summary(START_NS + 200 * SECOND_NS);
        let live: u64 = summary.owners.iter().map(|owner| owner.tcp.held).sum();
        prop_assert!(live <= 30);
    }
}
