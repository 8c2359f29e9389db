//! Whatever hangs: nothing waits for it, and what is missing is counted.

use super::*;
use crate::event::{Frame, HoldId};
use portleak_ebpf::{FRAMES_MAX, SiteRecord, counter};

/// Two owners whose names were lost; the command line of 666 hangs.
fn lost_names() -> Trace {
    let trace = Trace::begin();
    {
        let mut kernel = trace.kernel.state();
        kernel.hanging.insert("command line of 666");
        kernel.counters[counter::LOST as usize] = 1;
        for pid in [7, 666] {
            kernel.processes.insert(pid, process(pid));
            kernel.owners.insert(owner(pid), portleak_ebpf::OwnerTotals::default());
        }
    }
    trace
}

#[test]
fn a_name_that_hangs_is_emitted_without_its_command_line() {
    let mut trace = lost_names();
    let events = trace.pass(SECOND);
    let named =
        |pid| events.iter().any(|kind| matches!(kind, EventKind::Process { id, .. } if id.pid == pid));
    assert!(named(7) && named(666));
    trace.begun("command line of 666", 1);
    trace.drain(); // The deadline counts from here.
    trace.pass(SECOND);
    assert_eq!(trace.incomplete().len(), 1);
    let line = "command of 7";
    let has_line = |kind: &EventKind| matches!(kind, EventKind::Process { facts, .. } if facts.cmdline.as_deref() == Some(line));
    if !trace.events.iter().any(has_line) {
        trace.until(has_line);
    }
}

#[test]
fn a_call_site_that_hangs_is_emitted_as_addresses() {
    let mut trace = Trace::begin();
    trace.kernel.state().hanging.insert("frames");
    let mut frames = [0; FRAMES_MAX];
    frames[..2].copy_from_slice(&[11, 12]);
    let site = SiteRecord { header: header(kind::SITE, 3), owner: owner(7), count: 2, reserved: 0, frames };
    trace.record(Record::Site(site));
    trace.drain();
    trace.begun("frames", 1);
    trace.drain(); // The deadline counts from here.
    let events = trace.pass(2 * SECOND);
    let [EventKind::Site { frames, .. }] = events else { panic!("{events:?}") };
    assert_eq!(**frames, [Frame::Address(11), Frame::Address(12)]);
    assert_eq!(trace.incomplete().len(), 1);
}

#[test]
fn records_go_on_while_a_scan_hangs() {
    let mut trace = Trace::begin();
    trace.kernel.state().hanging.insert("scan");
    trace.kernel.state().holds.insert(1, hold());
    trace.pass(31 * SECOND);
    trace.begun("scan", 1);
    trace.record(Record::Short(header(kind::RELEASED, 1)));
    assert_eq!(trace.drain(), [EventKind::Released { hold: HoldId(1) }]);
    trace.pass(30 * SECOND);
    assert_eq!(trace.incomplete().len(), 1);
}

#[test]
fn the_end_does_not_wait_for_a_scan_that_hangs() {
    let mut trace = Trace::begin();
    trace.kernel.state().hanging.insert("scan");
    trace.kernel.state().holds.insert(1, hold());
    trace.record(Record::Short(header(kind::RELEASED, 2)));
    assert_eq!(trace.stop(), [EventKind::Released { hold: HoldId(2) }]);
    assert!(trace.kernel.state().detached);
    assert_eq!(trace.incomplete().len(), 1);
}

#[test]
fn the_end_does_not_wait_for_what_hangs_since_long() {
    let mut trace = Trace::begin();
    for what in ["scan", "frames", "ranges", "ports", "is local", "command line", "idle times"] {
        trace.kernel.state().hanging.insert(what);
    }
    trace.kernel.state().holds.insert(1, hold());
    trace.record(hold_record(kind::ACQUIRED, 1, hold()));
    trace.pass(31 * SECOND);
    trace.begun("scan", 1);
    trace.begun("ranges", 1);
    trace.stop();
    assert!(trace.incomplete().iter().map(|(_, count)| count).sum::<u64>() >= 2);
}
