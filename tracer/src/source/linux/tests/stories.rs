//! What becomes of records, of losses, and of answers that come.

use super::*;
use crate::event::{FailureCode, HoldId, LossStage, NetNs, OwnerId, PoolId, PortRange, Protocol, Totals};
use crate::source::linux::procfs::descriptors::Holders;
use crate::source::linux::system::PortList;
use crate::source::linux::track::reconcile::scan::ScanResult;
use portleak_ebpf::{OwnerTotals, counter, errno, flag, owner_flag};

#[test]
fn a_port_is_acquired_and_released() {
    let mut trace = Trace::begin();
    trace.record(hold_record(kind::ACQUIRED, 1, hold()));
    trace.record(Record::Short(header(kind::RELEASED, 1)));
    let events = trace.drain();
    let [EventKind::Acquired(acquired), EventKind::Released { hold }] = events else { panic!("{events:?}") };
    assert_eq!((acquired.hold, *hold), (HoldId(1), HoldId(1)));
    assert_eq!(acquired.owner, OwnerId::Process(process(7).0));
}

#[test]
fn the_range_of_a_namespace_that_comes_up_follows_its_first_port() {
    let mut trace = Trace::begin();
    let range = PortRange { low: 32_768, high: 60_999, reserved: 3 };
    trace.kernel.state().range = Some(range);
    trace.record(hold_record(kind::ACQUIRED, 1, hold()));
    let found = trace.until(|kind| matches!(kind, EventKind::Pool { .. }));
    let pool = PoolId { netns: NetNs(5), protocol: Protocol::Tcp };
    assert_eq!(found, EventKind::Pool { pool, range });
    trace.record(hold_record(kind::ACQUIRED, 2, hold()));
    let events = trace.drain();
    let [EventKind::Acquired(acquired)] = events else { panic!("{events:?}") };
    assert_eq!(acquired.range, Some(range));
}

#[test]
fn a_range_that_a_hold_contradicts_is_read_again() {
    let mut trace = Trace::begin();
    let before = PortRange { low: 32_768, high: 60_999, reserved: 0 };
    trace.kernel.state().range = Some(before);
    trace.record(hold_record(kind::ACQUIRED, 1, hold()));
    trace.until(|kind| matches!(kind, EventKind::Pool { .. }));
    let after = PortRange { low: 1, high: 9, reserved: 2 };
    trace.kernel.state().range = Some(after);
    let narrowed = Hold { range_low: 1, range_high: 9, ..hold() };
    trace.record(hold_record(kind::ACQUIRED, 2, narrowed));
    trace.until(|kind| matches!(kind, EventKind::Pool { range, .. } if *range == after));
}

#[test]
fn a_loss_is_followed_by_what_the_ledger_holds() {
    let mut trace = Trace::begin();
    {
        let mut kernel = trace.kernel.state();
        kernel.counters[counter::LOST as usize] = 5;
        kernel.holds.insert(1, hold());
        let totals = OwnerTotals { tcp_acquired: 6, tcp_released: 5, netns: 5, ..OwnerTotals::default() };
        kernel.owners.insert(owner(7), totals);
        kernel.processes.insert(7, process(7));
    }
    let events = trace.pass(SECOND);
    assert_eq!(events[0], EventKind::Lost { count: 5, stage: LossStage::Kernel });
    assert_eq!(events[1], EventKind::ResyncBegan);
    assert!(matches!(&events[2], EventKind::Confirmed(acquired) if acquired.hold == HoldId(1)));
    assert_eq!(events[3], EventKind::ResyncEnded);
    assert!(matches!(&events[4], EventKind::Process { id, .. } if id.pid == 7));
    let totals = Totals { acquired: 6, released: 5 };
    let (owner, netns) = (OwnerId::Process(process(7).0), Some(NetNs(5)));
    assert_eq!(events[5], EventKind::Totals { owner, protocol: Protocol::Tcp, totals, netns });
}

#[test]
fn a_dead_owner_whose_name_was_lost_is_named_by_the_ledger_before_its_totals() {
    let mut trace = Trace::begin();
    let mut comm = [0; 16];
    comm[..4].copy_from_slice(b"curl");
    let totals = OwnerTotals {
        tcp_acquired: 1,
        tcp_released: 1,
        flags: owner_flag::ENDED,
        netns: 5,
        ppid: 6,
        comm: portleak_ebpf::address_words(comm),
        uid: 7,
        ..OwnerTotals::default()
    };
    let several = OwnerTotals { several_netns: 1, ..totals };
    {
        let mut kernel = trace.kernel.state();
        kernel.counters[counter::LOST as usize] = 1;
        kernel.owners.extend([(owner(7), totals), (owner(8), several)]);
    }
    trace.record(exited(7));
    let events = trace.pass(SECOND).to_vec();
    let of = |pid: u32| events.iter().filter(move |kind| concerns(kind, pid)).collect::<Vec<_>>();
    let [EventKind::Exited { .. }, EventKind::Process { facts, .. }, tcp, udp, EventKind::Exited { .. }] =
        of(7)[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!(
        (&*facts.comm, facts.ppid, facts.uid, facts.netns),
        ("curl", Some(6), Some(7), Some(NetNs(5)))
    );
    for totals in [tcp, udp] {
        assert!(matches!(totals, EventKind::Totals { netns: Some(NetNs(5)), .. }));
    }
    assert!(of(8).iter().any(|kind| matches!(kind, EventKind::Totals { netns: None, .. })));
    trace.kernel.state().counters[counter::LOST as usize] = 2;
    let again = trace.pass(2 * SECOND);
    assert!(!again.iter().any(|kind| matches!(kind, EventKind::Process { .. })), "named once");
}

/// Whether an event is about a process.
fn concerns(kind: &EventKind, pid: u32) -> bool {
    match kind {
        EventKind::Process { id, .. } | EventKind::Exited { id } => id.pid == pid,
        EventKind::Totals { owner, .. } => *owner == OwnerId::Process(process(pid).0),
        _ => false,
    }
}

#[test]
fn an_owner_that_ended_has_its_totals_emitted_before_its_place_is_freed() {
    let mut trace = Trace::begin();
    {
        let mut kernel = trace.kernel.state();
        kernel.counters[counter::LOST as usize] = 1;
        let totals = OwnerTotals {
            tcp_acquired: 9,
            tcp_released: 9,
            flags: owner_flag::DESCENDANT,
            ..OwnerTotals::default()
        };
        kernel.owners.insert(owner(7), totals);
    }
    trace.record(exited(7));
    let events = trace.pass(2 * SECOND).to_vec();
    let at = |wanted: fn(&EventKind) -> bool| events.iter().position(wanted).expect("it is emitted");
    let descendant = at(|kind| matches!(kind, EventKind::Descendant { id } if id.pid == 7));
    let totals = at(|kind| matches!(kind, EventKind::Totals { totals, .. } if totals.acquired == 9));
    assert!(descendant < totals);
    assert!(trace.kernel.state().owners.is_empty());
}

#[test]
fn an_end_that_was_lost_is_found_in_the_ledger() {
    let mut trace = Trace::begin();
    {
        let mut kernel = trace.kernel.state();
        kernel.counters[counter::LOST as usize] = 1;
        kernel.holds.insert(1, hold());
        let totals = OwnerTotals { tcp_acquired: 1, flags: owner_flag::ENDED, ..OwnerTotals::default() };
        kernel.owners.insert(owner(7), totals);
    }
    assert!(trace.pass(SECOND).contains(&EventKind::Exited { id: process(7).0 }));
}

#[test]
fn a_descendant_is_announced_once_and_before_its_port() {
    let mut trace = Trace::begin();
    let marked = Hold { flags: flag::DESCENDANT, ..hold() };
    trace.record(hold_record(kind::ACQUIRED, 1, marked));
    trace.record(hold_record(kind::ACQUIRED, 2, marked));
    let events = trace.drain();
    let [EventKind::Descendant { id }, EventKind::Acquired(_), EventKind::Acquired(_)] = events else {
        panic!("{events:?}")
    };
    assert_eq!(*id, process(7).0);
}

#[test]
fn a_hold_goes_to_the_process_that_has_its_socket() {
    let mut trace = Trace::begin();
    let mut holders = Holders::default();
    holders.add(77, process(8).0);
    {
        let mut kernel = trace.kernel.state();
        kernel.holds.insert(1, hold());
        kernel.processes.insert(8, process(8));
        let found = ScanResult {
            began_ns: 2 * SECOND,
            inodes: [(1, 77)].into_iter().collect(),
            complete: [NetNs(5)].into_iter().collect(),
            holders,
            everyone: true,
            ..ScanResult::default()
        };
        kernel.scans.push_back(found);
    }
    trace.record(hold_record(kind::ACQUIRED, 1, hold()));
    trace.pass(31 * SECOND);
    let moved = trace.until(|kind| matches!(kind, EventKind::Moved { .. }));
    assert_eq!(moved, EventKind::Moved { hold: HoldId(1), owner: OwnerId::Process(process(8).0) });
    assert!(trace.events.iter().any(|kind| matches!(kind, EventKind::Process { id, .. } if id.pid == 8)));
}

fn failed_bind(local: [u8; 4]) -> Record {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&local);
    let hold = Hold { local: portleak_ebpf::address_words(bytes), port: 0, state: state::BOUND, ..hold() };
    let header = Header { code: errno::EADDRINUSE, ..header(kind::FAILED, 1) };
    Record::Hold(HoldRecord { header, hold })
}

#[test]
fn a_failed_bind_is_withheld_until_its_address_is_known_to_be_local() {
    let mut trace = Trace::begin();
    trace.kernel.state().is_local = true;
    trace.record(failed_bind([127, 0, 0, 1]));
    let failed = trace.until(|kind| matches!(kind, EventKind::Failed(_)));
    assert!(matches!(failed, EventKind::Failed(failed) if failed.code == FailureCode::EADDRINUSE));
    // What is known of an address is believed for a while.
    trace.record(failed_bind([127, 0, 0, 1]));
    assert!(matches!(trace.drain(), [EventKind::Failed(_)]));
}

#[test]
fn an_address_that_is_not_ours_is_no_want_of_ports() {
    let mut trace = Trace::begin();
    trace.record(failed_bind([192, 0, 2, 1]));
    trace.drain();
    assert!(!trace.stop().iter().any(|kind| matches!(kind, EventKind::Failed(_))));
    assert_eq!(trace.incomplete(), []);
}

#[test]
fn a_bind_without_an_address_failed_for_want_of_ports() {
    let mut trace = Trace::begin();
    trace.record(failed_bind([0, 0, 0, 0]));
    assert!(matches!(trace.drain(), [EventKind::Failed(_)]));
}

#[test]
fn a_bind_that_nobody_answered_is_found() {
    let mut trace = Trace::begin();
    {
        let mut kernel = trace.kernel.state();
        kernel.binds.insert(1, Hold { port: 0, state: state::BOUND, ..hold() });
        kernel.processes.insert(7, process(7));
    }
    let events = trace.pass(2 * SECOND);
    assert!(matches!(events, [EventKind::Process { .. }, EventKind::Failed(_), ..]), "{events:?}");
}

/// A UDP connect, seen before the kernel chooses the port.
fn pending() -> Hold {
    let flags = flag::UNCONFIRMED;
    Hold { port: 0, protocol: protocol::UDP, flags, state: state::CONNECTED, ..hold() }
}

fn list_udp(ports: &[(u64, u16)]) -> Trace {
    let mut trace = Trace::begin();
    {
        let mut kernel = trace.kernel.state();
        kernel.holds.insert(1, pending());
        kernel.ports = Some(PortList::Listed(ports.iter().copied().collect()));
    }
    trace.record(hold_record(kind::ACQUIRED, 1, pending()));
    trace.pass(SECOND);
    trace
}

#[test]
fn the_port_of_a_udp_connect_is_looked_up() {
    let mut trace = list_udp(&[(1, 50_000)]);
    trace.until(|kind| *kind == EventKind::PortLearnt { hold: HoldId(1), port: 50_000 });
    assert_eq!(trace.kernel.state().holds[&1].port, 50_000);
}

#[test]
fn a_udp_connect_without_a_port_found_none() {
    let mut trace = list_udp(&[]);
    let failed = trace.until(|kind| matches!(kind, EventKind::Failed(_)));
    let EventKind::Failed(failed) = failed else { unreachable!() };
    assert_eq!((failed.code, failed.retracts), (FailureCode::EAGAIN, Some(HoldId(1))));
    assert!(trace.kernel.state().holds.is_empty());
}

#[test]
fn what_cannot_be_decoded_is_counted() {
    let mut trace = Trace::begin();
    trace.kernel.state().records.push_back(Err(crate::source::linux::bpf::wire::WireError::Kind(99)));
    let lost = EventKind::Lost { count: 1, stage: LossStage::Decode };
    assert!(trace.pass(SECOND).contains(&lost));
}

#[test]
fn queries_of_the_engine_are_answered() {
    let mut trace = Trace::begin();
    trace.kernel.state().holds.insert(1, hold());
    trace.source.query_idle(&[HoldId(1), HoldId(2)]);
    let idle = trace.until(|kind| matches!(kind, EventKind::Idle { .. }));
    assert_eq!(idle, EventKind::Idle { hold: HoldId(1), idle_ns: 5 });
}
