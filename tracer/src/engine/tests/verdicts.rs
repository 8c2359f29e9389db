//! What is a leak and what is not.

use super::*;
use crate::event::{Failed, FailureCode};

fn assert_within(outcome: &Outcome, verdict: Verdict, seconds: f64) {
    let first = outcome.first(verdict);
    assert!(first.is_some_and(|first| first <= seconds), "{verdict:?}: {first:?}, {:?}", outcome.verdicts());
}

// t  0────2────8──────────38────60
//    20 connections a second, none closed
//         growing suspected leak
#[test]
fn a_total_leak_is_seen_growing_then_suspected_then_certain() {
    let mut script = Script::default();
    script.each(20.0, 0.0, 60.0, |script, t| _ = script.acquire(t, 1));
    let outcome = script.run(Profile::Session, 60.0);
    assert_within(&outcome, Verdict::Growing, 3.0);
    assert_within(&outcome, Verdict::Suspected, 10.0);
    assert_within(&outcome, Verdict::Leak, 60.0);
    let owner = &outcome.summary.owners[0];
    let evidence = &owner.evidence[0];
    assert_eq!((owner.verdict, evidence.kind), (Verdict::Leak, LeakKind::Total));
    assert_eq!((evidence.held, evidence.remote), (1_200, Some(server())));
    assert!((evidence.rate_per_s - 20.0).abs() < 1.0, "{}", evidence.rate_per_s);
    let empty_s = evidence.exhaustion_in_s.unwrap();
    assert!((1_250.0..1_450.0).contains(&empty_s), "{empty_s}");
}

#[test]
fn pools_and_destinations_have_a_forecast_with_its_margin() {
    let mut script = Script::default();
    script.each(20.0, 0.0, 100.0, |script, t| _ = script.acquire(t, 1));
    let pool = script.run(Profile::Session, 100.0).summary.pools.remove(0);
    let truth = (28_232.0 - 2_000.0) / 20.0;
    for forecast in [pool.forecast, pool.destinations[0].forecast] {
        let forecast = forecast.unwrap();
        let (earliest, latest) = forecast.between_s.unwrap();
        assert!((0.95 * truth..1.05 * truth).contains(&forecast.exhaustion_in_s), "{forecast:?}");
        assert!(
            0.9 * truth < earliest && earliest < truth && truth < latest && latest < 1.1 * truth,
            "{forecast:?}"
        );
    }
}

#[test]
fn growth_began_when_it_did_not_when_it_was_noticed() {
    let mut script = Script::default();
    script.each(20.0, 5.2, 30.0, |script, t| _ = script.acquire(t, 1));
    let outcome = script.run(Profile::Session, 30.0);
    let began = outcome.summary.owners[0].evidence[0].since_ns - START_NS;
    assert_eq!(began / SECOND_NS, 5);
}

#[test]
fn a_finding_carries_what_was_held_at_its_instant() {
    let mut script = Script::default();
    script.each(20.0, 0.0, 60.0, |script, t| _ = script.acquire(t, 1));
    let outcome = script.run(Profile::Session, 60.0);
    for finding in &outcome.findings {
        if let Finding::Verdict { at_ns, held, evidence, .. } = finding {
            let truth = 20 * (at_ns - START_NS) / SECOND_NS;
            assert!(held.abs_diff(truth) <= 1, "{held} but {truth}");
            assert_eq!(evidence[0].held, *held);
        }
    }
}

#[test]
fn a_healthy_client_is_never_accused() {
    let mut script = Script::default();
    script.each(200.0, 0.0, 60.0, |script, t| script.connection(t, 1, 0.004));
    assert_eq!(script.run(Profile::Session, 70.0).worst(), Verdict::Clean);
}

#[test]
fn a_pool_that_warms_up_and_stays_is_never_accused() {
    for warm_up_s in [0.1, 1.0, 5.0, 10.0, 30.0, 60.0] {
        let mut script = Script::default();
        script.each(100.0 / warm_up_s, 0.0, warm_up_s, |script, t| _ = script.acquire(t, 1));
        let outcome = script.run(Profile::Session, 900.0);
        assert!(outcome.worst() <= Verdict::Growing, "{warm_up_s}: {:?}", outcome.verdicts());
        assert_eq!(outcome.summary.owners[0].verdict, Verdict::Clean);
    }
}

#[test]
fn bursts_that_close_are_never_accused() {
    for every_s in [5.0, 6.0, 10.0, 20.0] {
        let mut script = Script::default();
        script.each(1.0 / every_s, 0.0, 120.0, |script, t| {
            script.each(300.0, t, t + 0.99, |script, t| script.connection(t, 1, 5.0));
        });
        let outcome = script.run(Profile::Session, 130.0);
        assert!(outcome.worst() <= Verdict::Growing, "every {every_s} s: {:?}", outcome.verdicts());
    }
}

#[test]
fn an_error_path_that_leaks_two_percent_is_found() {
    let mut script = Script::default();
    let mut count = 0;
    script.each(20.0, 0.0, 300.0, |script, t| {
        count += 1;
        if count % 50 == 0 { _ = script.acquire(t, 1) } else { script.connection(t, 1, 0.3) }
    });
    let outcome = script.run(Profile::Session, 300.0);
    assert_within(&outcome, Verdict::Leak, 200.0);
    assert_eq!(outcome.summary.owners[0].evidence[0].kind, LeakKind::Partial);
}

#[test]
fn close_wait_that_stays_is_a_leak() {
    let mut script = Script::default();
    script.each(0.2, 0.0, 100.0, |script, t| {
        let hold = script.acquire(t, 1);
        script.at(t + 0.5, EventKind::State { hold, state: SocketState::CloseWait, remote: None });
    });
    script.each(50.0, 0.0, 100.0, |script, t| {
        let hold = script.acquire(t, 1);
        script.at(t + 0.01, EventKind::State { hold, state: SocketState::CloseWait, remote: None });
        script.release(t + 0.02, hold);
    });
    let outcome = script.run(Profile::Session, 120.0);
    assert_within(&outcome, Verdict::Suspected, 40.0);
    assert_within(&outcome, Verdict::Leak, 90.0);
    let evidence = &outcome.summary.owners[0].evidence[0];
    assert_eq!((evidence.kind, evidence.held), (LeakKind::CloseWait, 20));
}

#[test]
fn a_slow_leak_is_found_in_either_profile() {
    let mut script = Script::default();
    script.each(1.0 / 60.0, 0.0, 7_200.0, |script, t| _ = script.acquire(t, 1));
    assert_within(&script.run(Profile::Session, 7_200.0), Verdict::Leak, 900.0);
    assert_within(&script.run(Profile::Production, 7_200.0), Verdict::Leak, 2_400.0);
}

#[test]
fn ports_that_are_only_bound_are_called_so() {
    let mut script = Script::default();
    script.each(10.0, 0.0, 90.0, |script, t| {
        script.acquire_as(t, 1, |acquired| {
            acquired.remote = None;
            acquired.state = SocketState::Bound;
        });
    });
    let outcome = script.run(Profile::Session, 90.0);
    let owner = &outcome.summary.owners[0];
    assert_eq!((owner.verdict, owner.evidence[0].kind), (Verdict::Leak, LeakKind::Bound));
    assert_eq!(owner.tcp.held_bound_only, 900);
}

#[test]
fn a_leak_spread_over_many_destinations_is_its_owners() {
    let mut script = Script::default();
    script.each(20.0, 0.0, 60.0, |script, t| {
        let port = 1_000 + u16::try_from(script.next).unwrap();
        script.acquire_as(t, 1, |acquired| acquired.remote = Some(([10, 0, 0, 1], port).into()));
    });
    let outcome = script.run(Profile::Session, 60.0);
    assert_within(&outcome, Verdict::Leak, 60.0);
    assert_eq!(outcome.summary.owners[0].evidence[0].remote, None);
}

#[test]
fn time_wait_that_eats_a_destination_is_churn() {
    let mut script = Script::default();
    script.each(500.0, 0.0, 58.0, |script, t| {
        let hold = script.acquire(t, 1);
        script.at(t + 0.001, EventKind::TimeWaitBegan { hold });
        script.release(t + 0.001, hold);
        script.at(t + 61.0, EventKind::TimeWaitEnded { hold });
    });
    let outcome = script.run(Profile::Session, 57.0);
    assert_eq!(outcome.worst(), Verdict::Churn);
    assert_eq!(script.run(Profile::Session, 130.0).summary.owners[0].verdict, Verdict::Clean);
}

#[test]
fn a_leak_that_is_mended_is_forgiven() {
    let mut script = Script::default();
    let mut holds = Vec::new();
    script.each(20.0, 0.0, 60.0, |script, t| holds.push(script.acquire(t, 1)));
    for hold in holds {
        script.release(70.0, hold);
    }
    let outcome = script.run(Profile::Session, 200.0);
    assert_eq!(outcome.worst(), Verdict::Leak);
    assert_eq!(outcome.summary.owners[0].verdict, Verdict::Clean);
}

#[test]
fn what_was_thought_of_a_process_stays_when_it_ends() {
    let mut script = Script::default();
    let mut holds = Vec::new();
    script.each(20.0, 0.0, 50.0, |script, t| holds.push(script.acquire(t, 1)));
    script.at(50.0, EventKind::Exited { id: process(1) });
    for hold in holds {
        script.release(50.0, hold);
    }
    let owner = script.run(Profile::Session, 200.0).summary.owners.remove(0);
    assert_eq!((owner.verdict, owner.tcp.held), (Verdict::Leak, 0));
    assert_eq!(owner.evidence[0].held, 1_000, "as it was when it ended");
}

#[test]
fn growth_that_ended_with_its_process_is_told_as_it_was_and_then_forgotten() {
    let mut script = Script::default();
    let mut holds = Vec::new();
    script.each(20.0, 0.0, 4.5, |script, t| holds.push(script.acquire(t, 1)));
    script.at(4.5, EventKind::Exited { id: process(1) });
    for hold in holds {
        script.release(4.6, hold);
    }
    let owner = script.run(Profile::Session, 5.5).summary.owners.remove(0);
    assert_eq!((owner.verdict, owner.evidence[0].held), (Verdict::Growing, 90));
    assert_eq!(owner.evidence[0].released_share, 0.0);
    assert_eq!(script.run(Profile::Session, 60.0).summary.owners[0].verdict, Verdict::Clean);
}

#[test]
fn exhaustion_names_the_victim_and_the_holders() {
    let mut script = Script::default();
    script.name(0.0, 1, "hoarder").name(0.0, 2, "victim");
    for _ in 0..4 {
        script.acquire(0.5, 1);
    }
    for second in [1.0, 1.1, 3.0] {
        let failed = Failed {
            owner: OwnerId::Process(process(2)),
            pool: pool(Protocol::Tcp),
            code: FailureCode::EADDRNOTAVAIL,
            local: None,
            remote: Some(server()),
            retracts: None,
        };
        script.at(second, EventKind::Failed(failed));
    }
    let outcome = script.run(Profile::Session, 5.0);
    let told: Vec<_> = outcome
        .findings
        .iter()
        .filter_map(|finding| match finding {
            Finding::Exhausted { owner, top_holders, .. } => Some((owner.id.clone(), top_holders.clone())),
            _ => None,
        })
        .collect();
    assert_eq!(told.len(), 2, "once a second at most");
    assert_eq!(told[0].0, OwnerId::Process(process(2)));
    assert_eq!((told[0].1[0].0.facts.as_ref().unwrap().comm.as_ref(), told[0].1[0].1), ("hoarder", 4));
    let victim = outcome.summary.owners.iter().find(|owner| owner.verdict == Verdict::Exhausted).unwrap();
    assert_eq!(victim.tcp.failed[&FailureCode::EADDRNOTAVAIL], 3);
}

#[test]
fn a_leak_that_goes_on_is_called_one_once() {
    let every = |seconds: f64| {
        let mut script = Script::default();
        script.each(1.0 / seconds, 0.0, 7_200.0, |script, t| _ = script.acquire(t, 1));
        script
    };
    let mut partial = every(3.0);
    partial.each(2.0, 0.0, 7_200.0, |script, t| script.connection(t, 1, 0.3));
    for script in [every(60.0), every(3.0), partial] {
        for profile in [Profile::Session, Profile::Production] {
            let outcome = script.run(profile, 7_200.0);
            let leaks = outcome.verdicts().iter().filter(|(_, verdict, _)| *verdict == Verdict::Leak).count();
            assert_eq!(leaks, 1, "{profile:?}: {:?}", outcome.verdicts());
            assert_eq!(outcome.summary.owners[0].verdict, Verdict::Leak);
        }
    }
}

#[test]
fn connections_that_are_used_are_no_leak_and_idle_ones_soon_are() {
    let run = |idle: fn(f64) -> f64| {
        let mut script = Script::default();
        script.each(20.0, 0.0, 90.0, |script, t| _ = script.acquire(t, 1));
        let mut engine = Engine::new(Config { profile: Profile::Production, ..Config::default() }, START_NS);
        let mut verdicts = Vec::new();
        for event in &script.events {
            engine.apply(event);
            for hold in engine.take_idle_queries() {
                let age_s = (event.at_ns - START_NS) as f64 / SECOND_NS as f64 - hold.0 as f64 / 20.0;
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a test's seconds"
                )]
                let idle_ns = (idle(age_s) * SECOND_NS as f64) as u64;
                engine.apply(&Event { at_ns: event.at_ns, kind: EventKind::Idle { hold, idle_ns } });
            }
            verdicts.extend(engine.take_findings());
        }
        Outcome { findings: verdicts, summary: engine.summary(START_NS + 90 * SECOND_NS) }
    };
    assert!(run(|_| 1.0).worst() <= Verdict::Growing);
    let abandoned = run(|age_s| age_s);
    assert_within(&abandoned, Verdict::Suspected, 10.0);
    assert_within(&abandoned, Verdict::Leak, 60.0);
    let (found, of) = abandoned.summary.owners[0].evidence[0].abandoned.unwrap();
    assert!(found == of && of >= 10, "{found} of {of}");
}

#[test]
fn processes_that_pile_up_are_their_programs_leak() {
    let mut script = Script::default();
    let facts = ProcessFacts { comm: "worker".into(), exe: Some("/bin/worker".into()), ..Default::default() };
    script.each(0.5, 0.0, 900.0, |script, t| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a test's pid")]
        let pid = 100 + t as u32;
        script.at(t, EventKind::Process { id: process(pid), facts: facts.clone() }).acquire(t, pid);
    });
    let outcome = script.run(Profile::Session, 900.0);
    let leak = outcome.findings.iter().find_map(|finding| match finding {
        Finding::Verdict { owner, verdict: Verdict::Leak, evidence, .. } => Some((owner, evidence)),
        _ => None,
    });
    let (owner, evidence) = leak.unwrap();
    assert!(matches!(&owner.id, OwnerId::Program(id) if &*id.exe == "/bin/worker"), "{owner:?}");
    assert!(evidence[0].processes.is_some_and(|processes| processes >= 10), "{evidence:?}");
    assert!(outcome.summary.owners.iter().any(|owner| matches!(owner.owner.id, OwnerId::Program(_))));
}

/// bind() before connect(), and a connection that is refused: the port goes to a destination and
/// back. Nothing grows where nothing stays.
#[test]
fn ports_that_change_their_destination_do_not_grow() {
    let mut script = Script::default();
    script.each(10.0, 0.0, 120.0, |script, second| {
        let hold = script.acquire_as(second, 1, |acquired| {
            acquired.remote = None;
            acquired.state = SocketState::Bound;
        });
        let state = |state, remote| EventKind::State { hold, state, remote };
        script.at(second + 0.001, state(SocketState::SynSent, Some(server())));
        script.at(second + 0.002, state(SocketState::Bound, None));
        script.release(second + 0.003, hold);
    });
    let outcome = script.run(Profile::Session, 121.0);
    assert_eq!(outcome.verdicts(), []);
}
