//! Nothing that a file can contain makes the reader or the decoders panic, hang or take much memory.
//!
//! Traces of every release are damaged at random and read through the whole model, and payloads of
//! every event are damaged and decoded. `cargo test` does a little of it, the same each time;
//! `PORTLEAK_FUZZ_S` says for how many seconds each test goes on instead, with ever new damage.
//! `tests/fuzz` does it guided by coverage, from the seeds that are kept here.

use portleak::source::windows::decoded_event;
use portleak::source::windows::etl::Reader;
use portleak::source::windows::guid::{self, Guid};
use portleak::source::windows::layout::layouts;
use portleak::source::windows::model::{Background, Model};
use portleak::source::windows::record::Record;
use portleak_tests::etl::encode::{RELEASES, Release, payload};
use portleak_tests::etl::machine::Machine;
use portleak_tests::etl::writer::Form;
use std::fs;
use std::io::Cursor;
use std::path::Path;
use std::time::{Duration, Instant};

/// How often a short run damages something.
const ROUNDS: u64 = 3_000;
/// No record of a trace tells more events than this: Windows has no event of many ports.
const EVENTS_OF_A_RECORD: usize = 16;

/// Numbers that look like chance: SplitMix64.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).expect("below a usize")
    }

    /// A number of the kind that breaks things.
    fn odd(&mut self) -> u64 {
        let odd =
            [0, 1, 2, 7, 8, 72, 0x7f, 0x80, 0xff, 0xffff, 0x8000, u64::from(u32::MAX), u64::MAX, 1 << 31];
        if self.below(2) == 0 { odd[self.below(odd.len())] } else { self.next() }
    }

    /// Damages bytes in one of the ways in which files are damaged.
    fn damage(&mut self, bytes: &mut Vec<u8>) {
        let at = self.below(bytes.len());
        match self.below(8) {
            0 => bytes.truncate(at),
            1 => {
                let from = self.below(bytes.len());
                let room = bytes.len() - from.max(at);
                bytes.copy_within(from..from + self.below(room), at);
            }
            2 => bytes[at..].iter_mut().take(64).for_each(|byte| *byte = 0xff),
            3 => bytes.insert(at.min(bytes.len()), 0),
            4 | 5 => {
                let width = [1, 2, 4, 8][self.below(4)];
                let odd = self.odd().to_le_bytes();
                bytes[at..].iter_mut().zip(&odd[..width]).for_each(|(byte, odd)| *byte = *odd);
            }
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << self.below(8);
                }
            }
        }
    }
}

/// Calls `round` with rng for a while.
#[expect(clippy::print_stdout, reason = "a long run says what it did")]
fn rounds(mut round: impl FnMut(&mut Rng)) {
    let seconds = std::env::var("PORTLEAK_FUZZ_S").ok().and_then(|text| text.parse().ok());
    let Some(seconds) = seconds else {
        return (0..ROUNDS).for_each(|seed| round(&mut Rng(seed)));
    };
    let (start, mut count) = (Instant::now(), 0);
    let seed = std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
    let mut rng = Rng(seed);
    while start.elapsed() < Duration::from_secs(seconds) {
        round(&mut rng);
        count += 1;
    }
    println!("{count} rounds with seed {seed}");
}

/// A trace in which everything happens once.
fn everything(release: Release, compressed: bool) -> Vec<u8> {
    let form = Form { compressed, buffer_bytes: 1_024, ..Form::default() };
    let mut machine = Machine::with(release, form);
    machine.driver(0xffff_f800_0000_1000, "mrxsmb");
    machine.starts(100, "a.exe", 3);
    machine.process(200, "b.exe");
    machine.found(200, 50_000, 4);
    machine.found(0, 50_001, 10);
    machine.stack(&[0xffff_f800_0000_1010]);
    let open = machine.connected(100);
    machine.bound(4);
    let failed = machine.connecting(200);
    machine.refused(failed);
    let closed = machine.connected(200);
    machine.close_to_time_wait(closed);
    machine.time_wait_ends(closed);
    let udp = machine.udp(200);
    machine.close_udp(udp);
    machine.shared(49_152);
    machine.exhausted(100);
    machine.udp_exhausted(200);
    machine.abort(open);
    machine.ends(100);
    machine.classic(guid::MOF_TCP, 12, 2, &[1; 44]);
    machine.classic(guid::MOF_UDP, 26, 2, &[1; 56]);
    machine.end()
}

/// Reads a file through the model; says how many events that gave.
fn digest(file: &[u8]) -> usize {
    let Ok(mut reader) = Reader::open(Cursor::new(file), |_, _, record| _ = decoded_event::decode(record))
    else {
        return 0;
    };
    let mut model = Model::new(reader.header(), &Background { has_tcpip: true, ..Background::default() });
    let (mut events, mut told) = (Vec::new(), 0);
    while let Ok(true) = reader.read(64, |header, at_ns, record| {
        let before = events.len();
        model.apply(header, at_ns, record, &mut events);
        assert!(events.len() - before <= EVENTS_OF_A_RECORD);
    }) {
        told += events.len();
        events.clear();
    }
    told + events.len()
}

/// The seeds of `tests/fuzz`: every release's trace, packed and not, and a payload of every event.
#[test]
fn seeds_are_up_to_date() {
    for release in RELEASES {
        for packed in [false, true] {
            let name = format!("trace/{release:?}{}.etl", if packed { "-packed" } else { "" });
            keep(&name, &everything(release, packed));
        }
    }
    for (provider, guid) in [guid::TCPIP, guid::AFD, guid::KERNEL_PROCESS].into_iter().enumerate() {
        for layout in layouts(guid) {
            let provider = u8::try_from(provider).expect("few providers");
            let [low, high] = layout.id.to_le_bytes();
            let mut seed = vec![provider, low, high, layout.version, 0, 0];
            seed.extend(payload(layout, &[]));
            keep(&format!("payload/{provider}-{}-{}", layout.id, layout.version), &seed);
        }
    }
}

/// Compares with a seed, or writes it when `PORTLEAK_BLESS` is set.
fn keep(name: &str, bytes: &[u8]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    if std::env::var_os("PORTLEAK_BLESS").is_some() {
        fs::create_dir_all(path.parent().expect("a folder")).expect("it can be made");
        fs::write(&path, bytes).expect("the seed is writable");
    }
    let kept = fs::read(&path).unwrap_or_default();
    assert!(kept == bytes, "{name} is not what is written now; PORTLEAK_BLESS=1 writes it anew");
}

#[test]
fn damaged_traces() {
    let seeds: Vec<_> = RELEASES
        .into_iter()
        .flat_map(|release| [false, true].map(|packed| everything(release, packed)))
        .collect();
    assert!(seeds.iter().all(|seed| digest(seed) > 10), "undamaged, they all tell something");
    rounds(|rng| {
        let mut file = seeds[rng.below(seeds.len())].clone();
        for _ in 0..=rng.below(8) {
            if !file.is_empty() {
                rng.damage(&mut file);
            }
        }
        digest(&file);
    });
}

#[test]
fn damaged_payloads() {
    let classic = [guid::MOF_TCP, guid::MOF_UDP, guid::MOF_PROCESS, guid::MOF_IMAGE, guid::MOF_CONFIG];
    let mut events: Vec<(Guid, u16, u8, u8)> = Vec::new();
    for provider in [guid::TCPIP, guid::AFD, guid::KERNEL_PROCESS] {
        events.extend(layouts(provider).iter().map(|layout| (provider, layout.id, layout.version, 0)));
    }
    for provider in classic {
        events.extend((0..40).flat_map(|opcode| (0..6).map(move |version| (provider, 0, version, opcode))));
    }
    rounds(|rng| {
        let (provider, id, version, opcode) = events[rng.below(events.len())];
        let mut payload: Vec<u8> = (0..rng.below(200))
            .map(|_| if rng.below(3) == 0 { rng.next().to_le_bytes()[0] } else { 0 })
            .collect();
        let mut extended: Vec<u8> = (0..rng.below(64)).map(|_| rng.odd().to_le_bytes()[0]).collect();
        for bytes in [&mut payload, &mut extended] {
            if !bytes.is_empty() {
                rng.damage(bytes);
            }
        }
        let pointer = if rng.below(2) == 0 { 4 } else { 8 };
        let (pid, tid) = (Some(1), Some(2));
        let record = Record {
            time: 0,
            provider,
            id,
            version,
            opcode,
            pid,
            tid,
            pointer,
            extended: &extended,
            payload: &payload,
        };
        let _ = (decoded_event::decode(&record), record.start_key(), record.stack().count());
    });
}
