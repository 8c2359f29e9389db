//! Intact parts are restored; damage is reported and never filled in.

mod arbitrary;

use super::damage::Flaws;
use super::reader::{OpenError, Reader, Turn};
use super::{Header, Recording};
use crate::engine::Config;
use crate::event::{Capture, Clock, Event, EventKind, HoldId, LossStage, NetNs, PoolId, PortRange, Protocol};
use crate::symbols::Symbols;
use proptest::prelude::*;
use std::io::{self, Cursor, Write};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// A file in memory that can be read while it is written.
#[derive(Clone, Default)]
struct File(Arc<Mutex<Vec<u8>>>);

impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const SECOND_NS: u64 = 1_000_000_000;
const BEGAN_NS: u64 = 1_000 * SECOND_NS;

fn capture() -> Capture {
    let pool = PoolId { netns: NetNs(7), protocol: Protocol::Udp };
    Capture {
        platform: "linux".to_owned(),
        kernel: "6.18".to_owned(),
        hooks: Vec::new(),
        degraded: Vec::new(),
        clock: Clock { monotonic_ns: BEGAN_NS, unix_ns: 1_777_626_724_000_000_000 },
        ticks_per_s: 100,
        pools: [(pool, PortRange { low: 32_768, high: 60_999, reserved: 0 })].into(),
    }
}

fn header() -> Header {
    Header {
        tool: "portleak test".to_owned(),
        capture: capture(),
        config: Config::default(),
        command: vec!["./repro.sh".to_owned()],
        buffer_bytes: 4 << 20,
        began_ns: BEGAN_NS,
    }
}

/// Events, and the instant to which the engine advanced after them.
type Batch = (Vec<Event>, u64);

/// The bytes of a recording of `batches`.
fn record(batches: &[Batch]) -> Vec<u8> {
    let file = File::default();
    let mut recording = Recording::new("test", Box::new(file.clone()), Symbols::default()).unwrap();
    recording.begin(&header()).unwrap();
    for (events, now_ns) in batches {
        recording.batch(events, Some(*now_ns)).unwrap();
    }
    recording.end(Instant::now()).unwrap();
    std::mem::take(&mut *file.0.lock().unwrap())
}

/// All that can be read of a recording.
fn read(bytes: &[u8]) -> Result<(Vec<Batch>, Flaws), OpenError> {
    let mut reader = Reader::open(Cursor::new(bytes))?;
    let mut batches = Vec::new();
    let mut events = Vec::new();
    loop {
        match reader.turn(&mut events)? {
            Turn::More => {}
            Turn::Until(now_ns) => batches.push((std::mem::take(&mut events), now_ns)),
            Turn::End(now_ns) => {
                if !events.is_empty() {
                    batches.push((events, now_ns));
                }
                return Ok((batches, reader.flaws().clone()));
            }
        }
    }
}

fn released(at_ns: u64, hold: u64) -> Event {
    Event { at_ns, kind: EventKind::Released { hold: HoldId(hold) } }
}

/// So many batches of ten events, a second apart: each is a block of its own.
fn blocks(count: u64) -> Vec<Batch> {
    let batch = |second: u64| {
        let now_ns = BEGAN_NS + (1 + second) * SECOND_NS;
        ((0..10).map(|i| released(now_ns - 10 + i, 10 * second + i)).collect(), now_ns)
    };
    (0..count).map(batch).collect()
}

fn flat(batches: &[Batch]) -> Vec<Event> {
    batches.iter().flat_map(|(events, _)| events.clone()).collect()
}

/// What was not made up for what was lost.
fn without_losses(batches: &[Batch]) -> Vec<Event> {
    let mut events = flat(batches);
    events.retain(|event| !matches!(event.kind, EventKind::Lost { stage: LossStage::Recording, .. }));
    events
}

proptest! {
    #[test]
    fn what_was_recorded_comes_back(batches in prop::collection::vec((arbitrary::events(), any::<u64>()), 0..6)) {
        // A mark may not lie in the future of the next block's age.
        let batches: Vec<_> = batches.into_iter().map(|(events, now)| (events, now >> 1)).collect();
        let (back, flaws) = read(&record(&batches)).unwrap();
        prop_assert_eq!(back, batches);
        prop_assert_eq!(flaws, Flaws::default());
    }

    #[test]
    fn a_part_gives_the_beginning(cut in 0.0..1.0) {
        let batches = blocks(5);
        let bytes = record(&batches);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a test's length")]
        let part = &bytes[..(bytes.len() as f64 * cut) as usize];
        match read(part) {
            Ok((back, flaws)) => {
                prop_assert!(flat(&batches).starts_with(&flat(&back)));
                prop_assert!(flaws.unfinished);
            }
            Err(OpenError::Foreign) => prop_assert!(part.len() < 12),
            Err(OpenError::NoHeader(_)) => prop_assert!(part.len() < 1_500),
            Err(error) => prop_assert!(false, "{}", error),
        }
    }

    #[test]
    fn damage_costs_what_was_damaged(places in prop::collection::vec((any::<prop::sample::Index>(), 1u8..), 1..4)) {
        let batches = blocks(8);
        let mut bytes = record(&batches);
        for (at, change) in places {
            let at = at.index(bytes.len());
            bytes[at] ^= change;
        }
        if let Ok((back, flaws)) = read(&bytes) {
            let whole = flat(&batches);
            let mut left = whole.iter();
            for event in without_losses(&back) {
                prop_assert!(left.any(|original| *original == event), "made up: {:?}", event);
            }
            prop_assert!(flaws.damaged > 0 || back == batches);
        }
    }

    #[test]
    fn any_bytes_are_taken(bytes in prop::collection::vec(any::<u8>(), 0..600), at in 0usize..2_000) {
        let mut file = record(&blocks(3));
        let at = at.min(file.len());
        file.splice(at.., bytes);
        let _ = read(&file);
    }
}

/// Content may be malformed even if the checksums match.
#[test]
fn records_that_make_no_sense_are_damage() {
    use super::block::{Kind, Packer};
    for content in
        [&b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"[..], b"\x05\x15\x01", b"\x03\x21\x00\x00\x05"]
    {
        let mut file = record(&[]);
        file.truncate(file.len() - super::block::HEADER_LEN);
        file.extend_from_slice(Packer::default().pack(Kind::EVENTS, content, 1));
        let (back, flaws) = read(&file).unwrap();
        assert_eq!((flat(&back).len(), flaws.damaged), (0, 1), "{content:?}");
    }
}

#[test]
fn a_damaged_block_is_passed_over_and_counted() {
    let batches = blocks(5);
    let mut bytes = record(&batches);
    let marker = super::block::MARKER;
    let starts: Vec<_> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(&marker)).collect();
    assert_eq!(starts.len(), 1 + 5 + 1, "header, events, end");
    for (inside, what) in [(2, "the header"), (super::block::HEADER_LEN + 9, "the content")] {
        let at = starts[3] + inside;
        bytes[at] ^= 0xff;
        let (back, flaws) = read(&bytes).unwrap();
        bytes[at] ^= 0xff;
        let losses: Vec<_> = flat(&back).into_iter().filter(|event| event.kind.tag() == 30).collect();
        assert_eq!(losses.len(), 1, "{what}");
        assert_eq!(losses[0].kind, EventKind::Lost { count: 10, stage: LossStage::Recording }, "{what}");
        assert_eq!(losses[0].at_ns, batches[1].1, "{what}");
        assert_eq!(without_losses(&back).len(), 40, "{what}");
        let block_len = (starts[4] - starts[3]) as u64;
        let place = (flaws.places[0].offset, flaws.places[0].bytes, flaws.places[0].cut);
        assert_eq!(place, (starts[3] as u64, block_len, false), "{what}");
        assert_eq!((flaws.damaged, flaws.lost, flaws.unfinished), (1, 10, false), "{what}");
    }
}

#[test]
fn a_file_that_ends_too_soon_says_where() {
    let bytes = record(&blocks(3));
    let (back, flaws) = read(&bytes[..bytes.len() - super::block::HEADER_LEN - 5]).unwrap();
    assert_eq!(flat(&back).len(), 20);
    assert!(flaws.places[0].cut && flaws.unfinished);
    assert!(flaws.to_string().starts_with("the recording is cut at byte "), "{flaws}");

    let (back, flaws) = read(&bytes[..bytes.len() - super::block::HEADER_LEN]).unwrap();
    assert_eq!((flat(&back).len(), flaws.is_damaged(), flaws.unfinished), (30, false, true));
    assert!(flaws.to_string().starts_with("the recording was not finished"), "{flaws}");
}

#[test]
fn the_head_comes_back() {
    let reader = Reader::open(Cursor::new(record(&[]))).unwrap();
    assert_eq!(*reader.header(), header());
}

#[test]
fn a_later_version_is_refused_by_its_number() {
    let mut bytes = record(&[]);
    bytes[8] = 9;
    let error = read(&bytes).unwrap_err().to_string();
    assert_eq!(error, "it has format 9, and this portleak reads formats up to 1");
}

/// A kind, a table and a value that this version does not have.
#[test]
fn what_a_later_version_adds_is_passed_over() {
    use super::block::{Kind, Packer};
    use super::field::Encoder;
    let mut encoder = Encoder::default();
    encoder.event(&released(100, 1));
    encoder.timed(200, 110, |to| to.raw(b"a kind of event to come"));
    encoder.timed(30, 120, |to| {
        to.number(3);
        to.byte(99); // Lost at a stage to come.
    });
    encoder.timed(23, 130, |to| {
        to.hold(2);
        to.raw(b"a field to come");
    });
    let mut packer = Packer::default();
    let mut file = record(&[]);
    file.truncate(file.len() - super::block::HEADER_LEN);
    file.extend_from_slice(packer.pack(Kind(77), b"a kind of block to come", 0));
    file.extend_from_slice(packer.pack(Kind::EVENTS, encoder.bytes(), 4));
    file.extend_from_slice(packer.pack(Kind::END, &[], 0));
    let (back, flaws) = read(&file).unwrap();
    assert_eq!(flat(&back), [released(100, 1), released(130, 2)]);
    assert_eq!((flaws.unknown, flaws.damaged, flaws.lost), (2, 0, 0));
    assert!(flaws.to_string().contains("2 events are of a later version"), "{flaws}");
}

#[test]
fn a_full_disk_is_told_with_the_remedy() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let error = Recording::new("night.plk", Box::new(Full), Symbols::default()).err().unwrap().to_string();
    assert!(error.contains("night.plk") && error.contains("remedy: free space"), "{error}");
}
