//! What is counted, for whom, and what a loss does to it.

use super::*;
use crate::engine::scope::Scope;
use crate::event::{Failed, FailureCode, LossStage, TimeWaitFound, Totals};

#[test]
fn a_shared_port_is_used_once_and_free_after_the_last() {
    let mut script = Script::default();
    let shared = |acquired: &mut Acquired| acquired.port = Some(40_000);
    let first = script.acquire_as(0.0, 1, shared);
    let second = script.acquire_as(0.1, 2, shared);
    script.release(1.0, first);
    assert_eq!(script.run(Profile::Session, 1.5).summary.pools[0].used, 1);
    script.release(2.0, second);
    let summary = script.run(Profile::Session, 2.5).summary;
    assert_eq!((summary.pools[0].used, summary.pools[0].peak), (0, 1));
}

#[test]
fn held_is_acquired_less_released_and_what_was_there_before() {
    let mut script = Script::default();
    let old = script.acquire_as(0.0, 1, |acquired| acquired.pre_existing = true);
    script.acquire_as(0.0, 1, |acquired| acquired.pre_existing = true);
    script.acquire(1.0, 1);
    script.release(2.0, old);
    let summary = script.run(Profile::Session, 3.0).summary;
    let owner = &summary.owners[0];
    assert_eq!((owner.tcp.acquired, owner.tcp.released, owner.tcp.held), (1, 1, 2));
    assert_eq!(owner.lifetime.count, 0, "nobody knows how long the old one was held");
    assert_eq!(owner.oldest_held_s, Some(2.0));
}

#[test]
fn time_wait_is_charged_to_its_maker_and_survives_rearming() {
    let mut script = Script::default();
    let hold = script.acquire(0.0, 1);
    script.at(1.0, EventKind::TimeWaitBegan { hold }).release(1.0, hold);
    script.at(2.0, EventKind::TimeWaitEnded { hold }).at(2.0, EventKind::TimeWaitBegan { hold });
    let summary = script.run(Profile::Session, 10.0).summary;
    assert_eq!((summary.owners[0].tcp.held, summary.owners[0].tcp.time_wait), (0, 1));
    assert_eq!((summary.pools[0].time_wait, summary.pools[0].destinations[0].used), (1, 1));
    script.at(62.0, EventKind::TimeWaitEnded { hold });
    let summary = script.run(Profile::Session, 70.0).summary;
    assert_eq!((summary.owners[0].tcp.time_wait, summary.pools[0].time_wait), (0, 0));
    assert!(summary.pools[0].destinations.is_empty());
}

#[test]
fn a_time_wait_of_an_accepted_socket_is_nobodys() {
    let mut script = Script::default();
    script.at(1.0, EventKind::TimeWaitBegan { hold: HoldId(77) });
    script.at(2.0, EventKind::TimeWaitEnded { hold: HoldId(77) });
    assert!(script.run(Profile::Session, 3.0).summary.owners.is_empty());
}

fn found(hold: u64, ends: f64) -> EventKind {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a test's seconds")]
    let ends_ns = START_NS + (ends * SECOND_NS as f64) as u64;
    let (hold, pool) = (HoldId(hold), pool(Protocol::Tcp));
    EventKind::TimeWaitFound(TimeWaitFound { hold, pool, remote: Some(server()), ends_ns })
}

#[test]
fn time_waits_of_before_tracing_count_in_the_pool_until_they_end() {
    let mut script = Script::default();
    script.at(0.0, found(500, 50.0)).at(0.0, found(501, 50.0)).at(0.0, found(501, 50.0));
    let time_waits = |script: &Script, until: f64| {
        let summary = script.run(Profile::Session, until).summary;
        assert!(summary.owners.is_empty(), "nobody acquired anything");
        (summary.pools[0].time_wait, summary.pools[0].destinations.first().map(|towards| towards.used))
    };
    assert_eq!(time_waits(&script, 5.0), (2, Some(2)));
    script.at(10.0, EventKind::TimeWaitEnded { hold: HoldId(500) });
    assert_eq!(time_waits(&script, 15.0), (1, Some(1)));
    assert_eq!(time_waits(&script, 49.0), (1, Some(1)));
    assert_eq!(time_waits(&script, 71.0), (0, None), "its end was not told");
}

#[test]
fn a_found_time_wait_that_is_rearmed_lives_on() {
    let mut script = Script::default();
    let hold = HoldId(500);
    script.at(0.0, found(500, 20.0));
    script.at(10.0, EventKind::TimeWaitEnded { hold }).at(10.0, EventKind::TimeWaitBegan { hold });
    assert_eq!(script.run(Profile::Session, 60.0).summary.pools[0].time_wait, 1);
}

#[test]
fn a_found_time_wait_goes_to_its_maker_if_that_is_known() {
    let mut script = Script::default();
    script.at(0.0, found(0, 60.0)); // The snapshot is told first.
    let hold = script.acquire(0.0, 1);
    script.at(0.1, EventKind::TimeWaitBegan { hold }).release(0.1, hold);
    let summary = script.run(Profile::Session, 1.0).summary;
    assert_eq!((summary.owners[0].tcp.time_wait, summary.pools[0].time_wait), (1, 1));
    assert_eq!(summary.owners.len(), 1);
    script.at(2.0, EventKind::TimeWaitEnded { hold });
    let summary = script.run(Profile::Session, 3.0).summary;
    assert_eq!((summary.owners[0].tcp.time_wait, summary.pools[0].time_wait), (0, 0));
}

#[test]
fn states_are_counted_and_a_bound_socket_that_connects_moves_to_its_destination() {
    let mut script = Script::default();
    let hold = script.acquire_as(0.0, 1, |acquired| {
        acquired.remote = None;
        acquired.state = SocketState::Bound;
    });
    assert_eq!(script.run(Profile::Session, 0.5).summary.owners[0].tcp.held_bound_only, 1);
    script.at(1.0, EventKind::State { hold, state: SocketState::SynSent, remote: Some(server()) });
    let summary = script.run(Profile::Session, 1.5).summary;
    let tcp = &summary.owners[0].tcp;
    assert_eq!((tcp.held_bound_only, tcp.syn_sent, tcp.held), (0, 1, 1));
    assert_eq!(summary.pools[0].destinations[0].remote, server());
    script.at(2.0, EventKind::State { hold, state: SocketState::CloseWait, remote: None });
    let tcp = script.run(Profile::Session, 2.5).summary.owners[0].tcp.clone();
    assert_eq!((tcp.syn_sent, tcp.close_wait), (0, 1));
}

#[test]
fn a_udp_connect_that_found_no_port_never_was() {
    let mut script = Script::default();
    let udp = |acquired: &mut Acquired| {
        acquired.pool = pool(Protocol::Udp);
        acquired.port = None;
    };
    let (lucky, unlucky) = (script.acquire_as(0.0, 1, udp), script.acquire_as(0.0, 1, udp));
    script.at(0.1, EventKind::PortLearnt { hold: lucky, port: 40_000 });
    let failed = Failed {
        owner: OwnerId::Process(process(1)),
        pool: pool(Protocol::Udp),
        code: FailureCode::EAGAIN,
        local: None,
        remote: Some(server()),
        retracts: Some(unlucky),
    };
    script.at(0.1, EventKind::Failed(failed));
    let summary = script.run(Profile::Session, 1.0).summary;
    let udp = &summary.owners[0].udp;
    assert_eq!((udp.acquired, udp.released, udp.held), (1, 0, 1));
    assert_eq!(udp.failed[&FailureCode::EAGAIN], 1);
    assert_eq!(summary.pools[0].used, 1);
}

#[test]
fn after_a_loss_the_kernels_totals_and_its_list_are_the_truth() {
    let mut script = Script::default();
    let (stays, gone) = (script.acquire(0.0, 1), script.acquire(0.0, 1));
    script.at(1.0, EventKind::Lost { count: 3, stage: LossStage::Kernel });
    script.at(2.0, EventKind::ResyncBegan);
    let known = script.events.iter().find_map(|event| match &event.kind {
        EventKind::Acquired(acquired) if acquired.hold == stays => Some(acquired.clone()),
        _ => None,
    });
    let known = known.unwrap();
    let missed = Acquired { hold: HoldId(500), port: Some(50_000), ..known.clone() };
    script.at(2.0, EventKind::Confirmed(known));
    script.at(2.0, EventKind::Confirmed(missed));
    script.at(2.0, EventKind::ResyncEnded);
    let totals = Totals { acquired: 10, released: 8 };
    let owner = OwnerId::Process(process(1));
    script.at(2.0, EventKind::Totals { owner, protocol: Protocol::Tcp, totals, netns: None });
    script.release(2.5, gone); // Told late: it counts no second time.
    let outcome = script.run(Profile::Session, 3.0);
    assert!(matches!(outcome.findings[0], Finding::Lost { count: 3, .. }));
    let tcp = &outcome.summary.owners[0].tcp;
    assert_eq!((tcp.acquired, tcp.released, tcp.held), (10, 8, 2));
    assert_eq!((outcome.summary.pools[0].used, outcome.summary.lost), (2, 3));
}

#[test]
fn a_reused_pid_is_another_owner() {
    let mut script = Script::default();
    script.acquire(0.0, 1);
    script.acquire_as(1.0, 1, |acquired| {
        acquired.owner = OwnerId::Process(ProcessId { pid: 1, started_ticks: 7 });
    });
    assert_eq!(script.run(Profile::Session, 2.0).summary.owners.len(), 2);
}

#[test]
fn a_name_survives_its_process_and_follows_exec() {
    let mut script = Script::default();
    script.name(0.0, 1, "sh").acquire(0.1, 1);
    script.name(1.0, 1, "curl").at(2.0, EventKind::Exited { id: process(1) });
    let summary = script.run(Profile::Session, 100.0).summary;
    assert_eq!(summary.owners[0].owner.facts.as_ref().unwrap().comm.as_ref(), "curl");
}

#[test]
fn a_place_survives_an_exec_that_was_too_short_to_be_looked_at() {
    let mut script = Script::default();
    let (cgroup, service) = (Some("/a.service".into()), Some("a.service".into()));
    let facts = ProcessFacts { comm: "sh".into(), cgroup, service, ..ProcessFacts::default() };
    script.at(0.0, EventKind::Process { id: process(1), facts }).acquire(0.1, 1);
    script.name(1.0, 1, "curl");
    let summary = script.run(Profile::Session, 2.0).summary;
    let facts = summary.owners[0].owner.facts.clone().unwrap();
    assert_eq!((&*facts.comm, facts.service.as_deref()), ("curl", Some("a.service")));
}

#[test]
fn the_command_and_its_descendants_are_in_scope_the_rest_counts_in_the_pools() {
    let mut script = Script::default();
    let fork = |parent, child| EventKind::Forked { parent: process(parent), child: process(child) };
    script.at(0.0, fork(9, 10)).at(0.1, fork(10, 11)).at(0.1, fork(9, 12));
    for pid in [10, 11, 12] {
        script.acquire(0.5, pid);
    }
    script.acquire_as(0.5, 0, |acquired| acquired.owner = OwnerId::System { module: None, netns: NetNs(1) });
    let scope = Scope { descendants_of: Some(10), ..Scope::default() };
    let summary = script.run_with(Config { scope, ..Config::default() }, 1.0).summary;
    let mut owners: Vec<_> = summary.owners.iter().map(|owner| owner.owner.id.clone()).collect();
    owners.sort();
    let system = OwnerId::System { module: None, netns: NetNs(1) };
    assert_eq!(owners, [OwnerId::Process(process(10)), OwnerId::Process(process(11)), system]);
    assert_eq!(summary.pools[0].used, 4);
}

#[test]
fn once_the_kernel_marks_descendants_no_pid_decides() {
    let mut script = Script::default();
    script.at(0.0, EventKind::Descendant { id: process(10) });
    // The record of this one's birth was lost; the mark was not.
    script.at(0.2, EventKind::Descendant { id: process(11) });
    // Both pids are used again by processes that are no descendants.
    let reused = |pid| ProcessId { pid, started_ticks: 777 };
    script.at(0.3, EventKind::Forked { parent: process(9), child: reused(10) });
    let facts = ProcessFacts { comm: "other".into(), ppid: Some(11), ..ProcessFacts::default() };
    script.at(0.3, EventKind::Process { id: reused(12), facts });
    for id in [process(10), process(11), reused(10), reused(12)] {
        script.acquire_as(0.5, 0, |acquired| acquired.owner = OwnerId::Process(id));
    }
    let scope = Scope { descendants_of: Some(10), ..Scope::default() };
    let summary = script.run_with(Config { scope, ..Config::default() }, 1.0).summary;
    let mut owners: Vec<_> = summary.owners.iter().map(|owner| owner.owner.id.clone()).collect();
    owners.sort();
    assert_eq!(owners, [process(10), process(11)].map(OwnerId::Process));
}

#[test]
fn ports_of_other_namespaces_are_left_out_with_their_pools() {
    let elsewhere = PoolId { netns: NetNs(2), protocol: Protocol::Tcp };
    let owner = OwnerId::Process(process(1));
    let mut script = Script::default();
    script.acquire(0.5, 1);
    let stray = script.acquire_as(0.5, 1, |acquired| acquired.pool = elsewhere);
    script.acquire_as(0.5, 2, |acquired| acquired.pool = elsewhere);
    script.at(0.6, EventKind::Pool { pool: elsewhere, range: RANGE }).release(0.7, stray);
    // They are of all namespaces.
    let totals = Totals { acquired: 2, released: 1 };
    script.at(0.8, EventKind::Totals { owner, protocol: Protocol::Tcp, totals, netns: None });
    let scope = Scope { netns: Some(NetNs(1)), ..Scope::default() };
    let summary = script.run_with(Config { scope, ..Config::default() }, 1.0).summary;
    assert_eq!(summary.pools.iter().map(|pool| pool.id).collect::<Vec<_>>(), [pool(Protocol::Tcp)]);
    assert_eq!(summary.owners.len(), 1);
    let tcp = &summary.owners[0].tcp;
    assert_eq!((tcp.acquired, tcp.released, tcp.held), (1, 0, 1));
}

/// The records of all of them were lost, their names too, and they are dead.
#[test]
fn totals_of_a_namespace_count_for_owners_that_nobody_knows() {
    let mut script = Script::default();
    let totals = Totals { acquired: 5, released: 4 };
    for (pid, netns) in [(1, Some(NetNs(1))), (2, Some(NetNs(2))), (3, None)] {
        let owner = OwnerId::Process(process(pid));
        script.at(0.8, EventKind::Totals { owner, protocol: Protocol::Tcp, totals, netns });
    }
    // It runs in the namespace, but its ports are of another.
    let facts = ProcessFacts { netns: Some(NetNs(1)), ..ProcessFacts::default() };
    script.at(0.9, EventKind::Process { id: process(4), facts });
    let (owner, netns) = (OwnerId::Process(process(4)), Some(NetNs(2)));
    script.at(0.9, EventKind::Totals { owner, protocol: Protocol::Tcp, totals, netns });
    let scope = Scope { netns: Some(NetNs(1)), ..Scope::default() };
    let summary = script.run_with(Config { scope, ..Config::default() }, 1.0).summary;
    let owners: Vec<_> = summary.owners.iter().map(|owner| (&owner.owner.id, owner.tcp.acquired)).collect();
    assert_eq!(owners, [(&OwnerId::Process(process(1)), 5)]);
}

#[test]
fn a_cgroup_includes_what_is_below_it_and_not_beside() {
    let mut script = Script::default();
    for (pid, cgroup) in [(1, "/a"), (2, "/a/b"), (3, "/ab"), (4, "/")] {
        let facts = ProcessFacts { cgroup: Some(cgroup.into()), ..ProcessFacts::default() };
        script.at(0.0, EventKind::Process { id: process(pid), facts });
        script.acquire(0.5, pid);
    }
    script.acquire(0.5, 5); // Nobody knows where.
    let owners = |cgroup: &str| {
        let scope = Scope { cgroup: Some(cgroup.to_owned()), ..Scope::default() };
        script.run_with(Config { scope, ..Config::default() }, 1.0).summary.owners.len()
    };
    assert_eq!([owners("/a"), owners("/a/"), owners("/a/b"), owners("/")], [2, 2, 1, 4]);
}

#[test]
fn filters_by_pid_name_and_protocol() {
    let mut script = Script::default();
    script.name(0.0, 1, "one").name(0.0, 2, "two").acquire(0.5, 1);
    script.acquire_as(0.5, 2, |acquired| acquired.pool = pool(Protocol::Udp));
    let owners =
        |scope: Scope| script.run_with(Config { scope, ..Config::default() }, 1.0).summary.owners.len();
    assert_eq!(owners(Scope { pids: vec![2], ..Scope::default() }), 1);
    assert_eq!(owners(Scope { comm: Some("one".to_owned()), ..Scope::default() }), 1);
    assert_eq!(owners(Scope { comm: Some("none".to_owned()), ..Scope::default() }), 0);
    assert_eq!(owners(Scope { protocol: Some(Protocol::Udp), ..Scope::default() }), 1);
}
