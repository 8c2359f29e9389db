//! Writes trace files: the container, as Windows' sessions do, for tests that know what is in it.

use super::pack::pack;
use portleak::source::windows::guid;
use portleak::source::windows::record::Record;
use std::io::{Seek, SeekFrom, Write};

/// Ticks a second of the written traces' clock.
const FREQUENCY: u64 = 10_000_000;
/// The tick at which they begin, and when that is as FILETIME: 2026-03-01 08:00 UTC.
const START_TICK: u64 = 5_000_000_000;
const START: u64 = 134_168_112_000_000_000;
const HEADER_BYTES: usize = 72;

/// The tick so many nanoseconds after the beginning.
pub fn tick(ns: u64) -> u64 {
    START_TICK + ns / 100
}

/// A FILETIME so many seconds before the beginning.
pub fn before(seconds: u64) -> u64 {
    START - seconds * FREQUENCY
}

/// How a trace is written.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    pub build: u32,
    pub buffer_bytes: usize,
    pub compressed: bool,
    pub lost: u32,
}

impl Default for Form {
    fn default() -> Self {
        Self { build: 26_100, buffer_bytes: 8_192, compressed: false, lost: 0 }
    }
}

/// A trace that is being written: a buffer for every CPU, which goes into the file when it is full.
#[derive(Debug)]
pub struct Writer<W> {
    file: W,
    form: Form,
    cpus: Vec<Vec<u8>>,
    written: u32,
    last_tick: u64,
}

impl<W: Write + Seek> Writer<W> {
    pub fn new(file: W, form: Form, cpus: usize) -> Self {
        let mut writer = Self { file, form, cpus: vec![Vec::new(); cpus], written: 0, last_tick: START_TICK };
        writer.head();
        writer
    }

    pub fn record(&mut self, cpu: usize, record: &Record<'_>) {
        self.last_tick = self.last_tick.max(record.time);
        let mut bytes = bytes_of(record);
        assert!(bytes.len() <= self.form.buffer_bytes - HEADER_BYTES, "a record fits into a buffer");
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        if self.cpus[cpu].len() + bytes.len() > self.form.buffer_bytes - HEADER_BYTES {
            self.flush(cpu);
        }
        self.cpus[cpu].extend(bytes);
    }

    /// Writes a CPU's buffer, full or not.
    pub fn flush(&mut self, cpu: usize) {
        let data = std::mem::take(&mut self.cpus[cpu]);
        if !data.is_empty() {
            self.buffer(cpu, &data, self.form.compressed);
        }
    }

    pub fn finish(mut self) -> W {
        for cpu in 0..self.cpus.len() {
            self.flush(cpu);
        }
        self.file.seek(SeekFrom::Start(0)).expect("a file");
        self.head();
        self.file
    }

    /// The first buffer: nothing but the trace's header.
    fn head(&mut self) {
        let mut data = Vec::new();
        let mut put = |bytes: &[u8]| data.extend(bytes);
        put(&u32::try_from(self.form.buffer_bytes).expect("a small buffer").to_le_bytes());
        put(&[10, 0, 0, 0]);
        put(&self.form.build.to_le_bytes());
        put(&u32::try_from(self.cpus.len()).expect("few CPUs").to_le_bytes());
        put(&(START + (self.last_tick - START_TICK)).to_le_bytes());
        put(&[0; 12]);
        put(&self.written.to_le_bytes());
        put(&1_u32.to_le_bytes());
        put(&8_u32.to_le_bytes());
        put(&self.form.lost.to_le_bytes());
        put(&[0; 4 + 16 + 176]);
        put(&before(START_TICK / FREQUENCY).to_le_bytes());
        put(&FREQUENCY.to_le_bytes());
        put(&START.to_le_bytes());
        put(&1_u32.to_le_bytes());
        put(&0_u32.to_le_bytes());
        let record = Record {
            time: START_TICK,
            provider: guid::TRACE_HEADER,
            id: 0,
            version: 2,
            opcode: 0,
            pid: Some(8),
            tid: Some(9),
            pointer: 8,
            extended: &[],
            payload: &data,
        };
        self.buffer(0, &bytes_of(&record), false);
    }

    fn buffer(&mut self, cpu: usize, data: &[u8], compressed: bool) {
        self.written += 1;
        let filled = HEADER_BYTES + data.len();
        let stored = if compressed { pack(data) } else { data.to_vec() };
        let size = if compressed { HEADER_BYTES + stored.len() } else { self.form.buffer_bytes };
        let number = |number: usize| u32::try_from(number).expect("a small buffer").to_le_bytes();
        let mut buffer = Vec::with_capacity(size);
        buffer.extend(number(size));
        buffer.extend([0; 0x24]);
        buffer.extend(u16::try_from(cpu).expect("few CPUs").to_le_bytes());
        buffer.extend([0; 6]);
        buffer.extend(number(filled));
        buffer.extend(if compressed { [0x40, 0, 0, 0] } else { [0; 4] });
        buffer.resize(HEADER_BYTES, 0);
        buffer.extend(stored);
        // What a buffer is not filled with is left as it was: a mark that ends it, then old records.
        let rest = size - buffer.len();
        buffer.extend([0xff; 4].iter().chain([0xa5; 60].iter().cycle()).take(rest));
        self.file.write_all(&buffer).expect("a file that can be written");
    }
}

/// A record as it lies in a buffer, its header of the kind that its provider has.
fn bytes_of(record: &Record<'_>) -> Vec<u8> {
    let group = match record.provider {
        guid::TRACE_HEADER => 0x00,
        guid::MOF_IMAGE if record.opcode == 10 => 0x03,
        guid::MOF_IMAGE => 0x14,
        guid::MOF_PROCESS => 0x03,
        guid::MOF_TCP => 0x06,
        guid::MOF_UDP => 0x08,
        guid::MOF_CONFIG => 0x0b,
        _ => return event(record),
    };
    let narrow = usize::from(record.pointer == 4);
    let mut bytes = vec![record.version, 0];
    match (record.pid, record.tid) {
        (Some(pid), Some(tid)) => {
            bytes.extend([[0x02, 0x01][narrow], 0xc0, 0, 0, record.opcode, group]);
            bytes.extend([tid.to_le_bytes(), pid.to_le_bytes()].concat());
            bytes.extend(record.time.to_le_bytes());
            bytes.extend([0; 8]);
        }
        _ => {
            bytes.extend([[0x11, 0x10][narrow], 0xc0, 0, 0, record.opcode, group]);
            bytes.extend(record.time.to_le_bytes());
        }
    }
    bytes.extend(record.payload);
    let size = u16::try_from(bytes.len()).expect("a record of less than 64 KiB");
    bytes[4..6].copy_from_slice(&size.to_le_bytes());
    bytes
}

fn event(record: &Record<'_>) -> Vec<u8> {
    let size = 80 + record.extended.len() + record.payload.len();
    let mut bytes = Vec::with_capacity(size);
    bytes.extend(u16::try_from(size).expect("a record of less than 64 KiB").to_le_bytes());
    bytes.extend([if record.pointer == 4 { 0x12 } else { 0x13 }, 0xc0]);
    bytes.extend([u8::from(!record.extended.is_empty()), 0, 0, 0]);
    bytes.extend(record.tid.unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend(record.pid.unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend(record.time.to_le_bytes());
    bytes.extend(record.provider.0);
    bytes.extend(record.id.to_le_bytes());
    bytes.extend([record.version, 0, 4, record.opcode]);
    bytes.resize(80, 0);
    bytes.extend(record.extended);
    bytes.extend(record.payload);
    bytes
}

/// An item attached to a record.
pub fn item(kind: u16, linked: bool, data: &[u8]) -> Vec<u8> {
    let size = (8 + data.len()).next_multiple_of(8);
    let number = |number: usize| u16::try_from(number).expect("a short item").to_le_bytes();
    let mut item =
        [number(size), kind.to_le_bytes(), u16::from(linked).to_le_bytes(), number(data.len())].concat();
    item.extend(data);
    item.resize(size, 0);
    item
}
