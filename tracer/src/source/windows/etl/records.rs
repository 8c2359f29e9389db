//! The records of one buffer: sixteen kinds of headers, each record aligned to eight bytes.
//!
//! The layouts are those of ntwmi.h, as public studies of the format describe them. Byte 2 is the header
//! kind, byte 3 the marker.

use crate::source::windows::bytes::Bytes;
use crate::source::windows::guid::{self, Guid};
use crate::source::windows::record::{Record, chain_length};

/// The marker of a record with one of the headers below.
const MARKED: u8 = 0xc0;
/// The marker of a WPP message.
const MESSAGE: u8 = 0x90;
/// The end of the records in a buffer that is not full.
const END: [u8; 4] = [0xff; 4];
/// `EVENT_HEADER_FLAG_EXTENDED_INFO` (evntcons.h).
const EXTENDED: u16 = 1;

/// The records of a buffer, as far as they can be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Records<'a> {
    data: &'a [u8],
    at: usize,
    damaged: bool,
}

/// What a buffer has at an offset.
enum Found<'a> {
    /// A record, and its size.
    Record(Record<'a>, usize),
    /// A record of another kind, a message or an instance, and its size.
    Other(usize),
    End,
}

impl<'a> Records<'a> {
    /// The records in `data`, from offset `at` on.
    pub(super) fn new(data: &'a [u8], at: usize) -> Self {
        Self { data, at, damaged: false }
    }

    /// The offset after the last returned record.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Whether the buffer has anything else than records.
    pub(super) fn damaged(&self) -> bool {
        self.damaged
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        loop {
            match found(self.data.get(self.at..)?) {
                Some(Found::Record(record, size)) => {
                    self.at += size;
                    return Some(record);
                }
                Some(Found::Other(size)) => self.at += size,
                Some(Found::End) => {
                    self.at = self.data.len();
                    return None;
                }
                None => {
                    self.damaged = true;
                    self.at = self.data.len();
                    return None;
                }
            }
        }
    }
}

fn found(data: &[u8]) -> Option<Found<'_>> {
    // A rest shorter than a header is padding.
    let Some(&[a, b, kind, mark, c, d, ..]) = data.first_chunk::<8>() else {
        return Some(Found::End);
    };
    if [a, b, kind, mark] == END || [a, b, kind, mark] == [0; 4] {
        return Some(Found::End);
    }
    let (first, third) = (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]));
    let system = matches!((kind, mark), (0x01..=0x04 | 0x10 | 0x11, MARKED));
    let size = usize::from(if system { third } else { first });
    let record = data.get(..size)?;
    let read = match (kind, mark) {
        (0x01 | 0x02, MARKED) => system_record(record, 32)?,
        (0x03 | 0x04, MARKED) => system_record(record, 24)?,
        (0x10 | 0x11, MARKED) => system_record(record, 16)?,
        (0x0a | 0x14, MARKED) => full_record(record)?,
        (0x12 | 0x13, MARKED) => event_record(record)?,
        (0x0b..=0x0f | 0x15, MARKED) | (_, MESSAGE) if size >= 8 => {
            return Some(Found::Other(size.next_multiple_of(8)));
        }
        _ => return None,
    };
    // Each layout has a kind for 32-bit machines and one for 64-bit ones.
    let pointer = if matches!(kind, 0x01 | 0x03 | 0x0a | 0x10 | 0x12) { 4 } else { 8 };
    Some(Found::Record(Record { pointer, ..read }, size.next_multiple_of(8)))
}

/// Version, kind and marker, size, type, group; then thread, process and time, or the time alone.
fn system_record(data: &[u8], header: usize) -> Option<Record<'_>> {
    let mut bytes = Bytes(data);
    let version = bytes.u16()?;
    bytes.take(4)?;
    let [opcode, group] = bytes.array()?;
    let (tid, pid) = if header > 16 { (Some(bytes.u32()?), Some(bytes.u32()?)) } else { (None, None) };
    let time = bytes.u64()?;
    // The upper bits of the version count the fields between header and payload.
    let more = usize::from(version >> 15) + usize::from(version >> 8 & 7);
    let payload = data.get(header + 8 * more..)?;
    Some(Record {
        time,
        provider: group_guid(group, opcode),
        id: 0,
        version: version.to_le_bytes()[0],
        opcode,
        pid: pid.filter(|&pid| pid != u32::MAX),
        tid: tid.filter(|&tid| tid != u32::MAX),
        pointer: 8,
        extended: &[],
        payload,
    })
}

/// `EVENT_TRACE_HEADER` (evntrace.h): a MOF event of a provider with a GUID.
fn full_record(data: &[u8]) -> Option<Record<'_>> {
    let mut bytes = Bytes(data);
    bytes.take(4)?;
    let [opcode, _level] = bytes.array()?;
    let [version, _] = bytes.array()?;
    let (tid, pid, time) = (bytes.u32()?, bytes.u32()?, bytes.u64()?);
    let provider = Guid(bytes.array()?);
    let payload = data.get(48..)?;
    let (pid, tid) = (Some(pid), Some(tid));
    Some(Record { time, provider, id: 0, version, opcode, pid, tid, pointer: 8, extended: &[], payload })
}

/// `EVENT_HEADER` (evntcons.h): an event of a provider with a manifest.
fn event_record(data: &[u8]) -> Option<Record<'_>> {
    let mut bytes = Bytes(data);
    bytes.take(4)?;
    let (flags, _property) = (bytes.u16()?, bytes.u16()?);
    let (tid, pid, time) = (bytes.u32()?, bytes.u32()?, bytes.u64()?);
    let provider = Guid(bytes.array()?);
    let id = bytes.u16()?;
    let [version, _channel, _level, opcode] = bytes.array()?;
    let rest = data.get(80..)?;
    let extended = if flags & EXTENDED == 0 { 0 } else { chain_length(rest)? };
    let (extended, payload) = rest.split_at_checked(extended)?;
    let (pid, tid) = (Some(pid), Some(tid));
    Some(Record { time, provider, id, version, opcode, pid, tid, pointer: 8, extended, payload })
}

/// The provider of a kernel event, by its group (`EVENT_TRACE_GROUP_*`, ntwmi.h).
fn group_guid(group: u8, opcode: u8) -> Guid {
    /// Image loads are in the group of processes.
    const LOAD: u8 = 10;
    match (group, opcode) {
        (0x00, _) => guid::TRACE_HEADER,
        (0x03, LOAD) | (0x14, _) => guid::MOF_IMAGE,
        (0x03, _) => guid::MOF_PROCESS,
        (0x06, _) => guid::MOF_TCP,
        (0x08, _) => guid::MOF_UDP,
        (0x0b, _) => guid::MOF_CONFIG,
        _ => Guid([0; 16]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anything_but_a_record_ends_the_buffer_as_damaged() {
        let mut records = Records::new(&[7; 64], 0);
        assert_eq!(records.next(), None);
        assert!(records.damaged());
        let mut records = Records::new(&[0xff; 64], 0);
        assert_eq!(records.next(), None);
        assert!(!records.damaged(), "the usual end");
    }

    #[test]
    fn a_record_that_is_longer_than_its_buffer_is_damage() {
        let mut data = vec![0; 16];
        data[..8].copy_from_slice(&[2, 0, 0x11, 0xc0, 17, 0, 1, 6]);
        let mut records = Records::new(&data, 0);
        assert_eq!(records.next(), None);
        assert!(records.damaged());
    }

    #[test]
    fn a_message_is_stepped_over() {
        let mut data = vec![12, 0, 0, 0x90, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        data.extend([2, 0, 0x11, 0xc0, 16, 0, 12, 6, 9, 0, 0, 0, 0, 0, 0, 0]);
        let records: Vec<_> = Records::new(&data, 0).collect();
        assert_eq!(records.len(), 1);
        assert_eq!((records[0].time, records[0].provider, records[0].opcode), (9, guid::MOF_TCP, 12));
    }
}
