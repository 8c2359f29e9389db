//! Whatever is written is read: any records, on any CPUs, packed or not, in order of time.

use portleak::source::windows::etl::Reader;
use portleak::source::windows::guid::{self, Guid};
use portleak::source::windows::record::Record;
use portleak_tests::etl::pack::pack;
use portleak_tests::etl::writer::{Form, Writer, item, tick};
use proptest::prelude::*;
use std::io::Cursor;

/// A record that owns its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Owned {
    cpu: usize,
    time: u64,
    provider: Guid,
    id: u16,
    version: u8,
    opcode: u8,
    process: Option<(u32, u32)>,
    pointer: u8,
    extended: Vec<u8>,
    payload: Vec<u8>,
}

impl Owned {
    fn record(&self) -> Record<'_> {
        Record {
            time: self.time,
            provider: self.provider,
            id: self.id,
            version: self.version,
            opcode: self.opcode,
            pid: self.process.map(|(pid, _)| pid),
            tid: self.process.map(|(_, tid)| tid),
            pointer: self.pointer,
            extended: &self.extended,
            payload: &self.payload,
        }
    }

    fn of(cpu: usize, record: &Record<'_>) -> Self {
        Self {
            cpu,
            time: record.time,
            provider: record.provider,
            id: record.id,
            version: record.version,
            opcode: record.opcode,
            process: record.pid.zip(record.tid),
            pointer: record.pointer,
            extended: record.extended.to_vec(),
            payload: record.payload.to_vec(),
        }
    }
}

fn manifest() -> impl Strategy<Value = Owned> {
    let provider = prop::sample::select(vec![guid::TCPIP, guid::AFD, guid::EMBEDDED_SCHEMA, Guid([7; 16])]);
    let items = prop::collection::vec((any::<u16>(), prop::collection::vec(any::<u8>(), 0..40)), 0..4);
    let head = (provider, any::<u16>(), any::<u8>(), any::<u8>(), any::<(u32, u32)>(), any::<bool>());
    (head, items, prop::collection::vec(any::<u8>(), 0..200)).prop_map(|(head, items, payload)| {
        let (provider, id, version, opcode, process, narrow) = head;
        let linked = |(n, (kind, data)): (usize, &(u16, Vec<u8>))| item(*kind, n + 1 < items.len(), data);
        let extended = items.iter().enumerate().flat_map(linked).collect();
        let pointer = if narrow { 4 } else { 8 };
        Owned {
            cpu: 0,
            time: 0,
            provider,
            id,
            version,
            opcode,
            process: Some(process),
            pointer,
            extended,
            payload,
        }
    })
}

fn classic() -> impl Strategy<Value = Owned> {
    let provider = prop::sample::select(vec![guid::MOF_TCP, guid::MOF_UDP, guid::MOF_CONFIG]);
    let process = prop::option::of((0..u32::MAX, 0..u32::MAX));
    let payload = prop::collection::vec(any::<u8>(), 0..200);
    (provider, 0_u8..10, any::<u8>(), process, any::<bool>(), payload).prop_map(
        |(provider, version, opcode, process, narrow, payload)| {
            let pointer = if narrow { 4 } else { 8 };
            Owned {
                cpu: 0,
                time: 0,
                provider,
                id: 0,
                version,
                opcode,
                process,
                pointer,
                extended: vec![],
                payload,
            }
        },
    )
}

/// Records on four CPUs, each with a time later than the one before.
fn records() -> impl Strategy<Value = Vec<Owned>> {
    let record = (prop_oneof![manifest(), classic()], 0_usize..4, 1_u64..1_000_000);
    prop::collection::vec(record, 0..300).prop_map(|records| {
        let mut now = tick(0);
        let at = |(record, cpu, later): (Owned, usize, u64)| {
            now += later;
            Owned { cpu, time: now, ..record }
        };
        records.into_iter().map(at).collect()
    })
}

fn written(records: &[Owned], form: Form) -> Vec<u8> {
    let mut writer = Writer::new(Cursor::new(Vec::new()), form, 4);
    for record in records {
        writer.record(record.cpu, &record.record());
    }
    writer.finish().into_inner()
}

fn read(file: &[u8]) -> Vec<Owned> {
    let mut reader = Reader::open(Cursor::new(file), |_, _, _| {}).expect("a trace");
    let mut found = Vec::new();
    while reader.read(7, |_, _, record| found.push(Owned::of(0, record))).expect("a whole trace") {}
    let integrity = reader.integrity();
    assert_eq!((integrity.damaged_buffers, integrity.misdated_records, integrity.truncated), (0, 0, false));
    assert_eq!(found.remove(0).provider, guid::TRACE_HEADER);
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_written_is_read(records in records(), compressed: bool) {
        let form = Form { compressed, buffer_bytes: 2_048, ..Form::default() };
        let found = read(&written(&records, form));
        let expected: Vec<_> = records.into_iter().map(|record| Owned { cpu: 0, ..record }).collect();
        prop_assert_eq!(found, expected);
    }

    /// A circular trace has its oldest buffers somewhere in the middle.
    #[test]
    fn the_order_of_buffers_does_not_matter(records in records(), turn in 0_usize..100) {
        let form = Form { buffer_bytes: 2_048, ..Form::default() };
        let mut file = written(&records, form);
        let (_, buffers) = file.split_at_mut(form.buffer_bytes);
        let count = buffers.len() / form.buffer_bytes;
        if count > 0 {
            buffers.rotate_left(turn % count * form.buffer_bytes);
        }
        let expected: Vec<_> = records.into_iter().map(|record| Owned { cpu: 0, ..record }).collect();
        prop_assert_eq!(read(&file), expected);
    }

    #[test]
    fn long_runs_are_packed_and_unpacked(runs in prop::collection::vec((any::<u8>(), 1_usize..9_000), 1..6)) {
        let runs: Vec<_> = runs.into_iter().scan(tick(0), |now, (byte, length)| {
            *now += 1;
            let process = Some((1, 1));
            Some(Owned { cpu: 0, time: *now, provider: Guid([7; 16]), id: 1, version: 0, opcode: 0, process,
                         pointer: 8, extended: vec![], payload: vec![byte; length] })
        }).collect();
        let form = Form { buffer_bytes: 65_536, compressed: true, ..Form::default() };
        prop_assert_eq!(read(&written(&runs, form)), runs);
    }

    /// Damage of any kind costs what it hit, and nothing else happens.
    #[test]
    fn damage_neither_panics_nor_hides(
        records in records(),
        compressed: bool,
        hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let form = Form { compressed, buffer_bytes: 2_048, ..Form::default() };
        let mut file = written(&records, form);
        for (at, byte) in hits {
            let at = at.index(file.len());
            file[at] = byte;
        }
        if let Some(cut) = cut {
            file.truncate(cut.index(file.len()));
        }
        let Ok(mut reader) = Reader::open(Cursor::new(&file), |_, _, _| {}) else {
            return Ok(());
        };
        let mut found = 0;
        while let Ok(true) = reader.read(1, |_, _, _| found += 1) {}
        prop_assert!(found <= file.len() / 8 * 1_000, "no more than packing can hide");
    }
}

#[test]
fn a_damaged_buffer_costs_itself() {
    let form = Form { buffer_bytes: 2_048, ..Form::default() };
    let record = |n: u64| Owned {
        cpu: 0,
        time: tick(n * 1_000),
        provider: guid::TCPIP,
        id: 1,
        version: 0,
        opcode: 0,
        process: Some((1, 1)),
        pointer: 8,
        extended: vec![],
        payload: vec![1; 900],
    };
    let records: Vec<_> = (1..=10).map(record).collect();
    let mut file = written(&records, form);
    file[2 * form.buffer_bytes..3 * form.buffer_bytes].fill(0x5a);
    let mut seen = 0;
    let reader = Reader::open(Cursor::new(&file), |_, _, _| seen += 1).expect("a trace");
    assert_eq!(seen, 1 + 10 - 2, "the header, and all but the two of that buffer");
    assert_eq!((reader.integrity().buffers, reader.integrity().damaged_buffers), (6, 1));
    let reader = Reader::open(Cursor::new(&file[..file.len() - 1_500]), |_, _, _| {}).expect("a trace");
    assert_eq!(reader.integrity().damaged_buffers, 2, "the last one is cut");
}

#[test]
fn what_is_no_trace_is_told() {
    for file in [&b""[..], b"MZ", &[0; 4_096], &pack(&[0; 4_096])] {
        let error = Reader::open(Cursor::new(file), |_, _, _| {}).expect_err("no trace");
        assert_eq!(error.to_string(), "it does not begin with the header of an event trace");
    }
}
