//! Live, the events of different processors come in an order that is only about that of their times.

use crate::ledger::{Ledger, listed};
use crate::lists::{Deed, Scripted, deed};
use portleak::source::windows::etl::Reader;
use portleak::source::windows::guid::Guid;
use portleak::source::windows::model::{Background, Model};
use portleak::source::windows::record::Record;
use portleak_tests::etl::encode::Release;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::io::Cursor;

/// A record that owns its parts.
struct Owned {
    at_ns: u64,
    place: usize,
    tid: Option<u32>,
    pid: Option<u32>,
    head: (Guid, u16, u8),
    payload: Vec<u8>,
}

/// How far apart events are told at most that were written the other way round, in records.
const LATE: usize = 15;

/// What a session hears: threads keep their order, and packets come in on any processor.
fn heard(file: Vec<u8>, delays: &[usize]) -> Ledger {
    let mut records = Vec::new();
    let mut threads = BTreeMap::new();
    let mut reader = Reader::open(Cursor::new(file), |_, _, _| {}).expect("a trace");
    let keep = |_: &_, at_ns, record: &Record<'_>| {
        let at = records.len();
        let late = at + delays[at % delays.len()];
        let place = match record.tid {
            Some(tid) if record.pid != Some(0) => {
                let last = threads.entry(tid).or_insert(0);
                *last = late.max(*last);
                *last
            }
            _ => late,
        };
        let head = (record.provider, record.id, record.version);
        let payload = record.payload.to_vec();
        records.push(Owned { at_ns, place, tid: record.tid, pid: record.pid, head, payload });
    };
    assert!(!reader.read(usize::MAX, keep).expect("a whole trace"));
    records.sort_by_key(|record| record.place);
    let background = Background { has_tcpip: true, ..Background::default() };
    let mut model = Model::new(reader.header(), &background);
    let (mut ledger, mut events) = (Ledger::default(), Vec::new());
    for Owned { at_ns, tid, pid, head: (provider, id, version), payload, .. } in &records {
        let record = Record {
            time: 0,
            provider: *provider,
            id: *id,
            version: *version,
            opcode: 0,
            pid: *pid,
            tid: *tid,
            pointer: 8,
            extended: &[],
            payload,
        };
        model.apply(reader.header(), *at_ns, &record, &mut events);
        ledger.take(&mut events);
    }
    ledger
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn what_is_told_late_leaves_nothing_behind(
        deeds in prop::collection::vec(deed(), 1..60),
        delays in prop::collection::vec(0..LATE, 97),
    ) {
        let mut script = Scripted::new(Release::Win11V23H2);
        script.play(&deeds);
        let truth = listed(&script.rows());
        let ledger = heard(script.machine.end(), &delays);
        prop_assert_eq!((ledger.holds(), ledger.time_waits()), truth);
    }
}

/// ```text
/// written:  bind, connect, abort      told:  abort, then the rest
/// ```
#[test]
fn a_release_may_be_told_first() {
    let mut script = Scripted::new(Release::Win11V23H2);
    script.play(&[Deed::Connect, Deed::Stray(0)]);
    let mut delays = vec![LATE; 97];
    delays[10..].fill(0);
    let ledger = heard(script.machine.end(), &delays);
    assert_eq!((ledger.holds(), ledger.acquired), (Vec::new(), 1));
}
