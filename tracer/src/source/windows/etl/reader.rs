//! A trace file, read twice: first in file order to index it, then in order of time.
//!
//! Every CPU fills its own buffers, and a circular trace begins in the middle of its file. Both need the
//! same: the first reading notes when each buffer begins, and the second opens only buffers that overlap in
//! time.

use super::buffer::{self, HEADER_BYTES, Place};
use super::header::Header;
use super::records::Records;
use crate::source::windows::record::Record;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, Read, Seek, SeekFrom};

/// The most memory of open buffers: 1,024 CPUs with buffers of 1 MiB.
const OPEN_BYTES_MAX: u64 = 1 << 30;

/// Why a file cannot be read as a trace.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The file does not begin with a trace header.
    #[error("it does not begin with the header of an event trace")]
    NoTrace,
    /// Too many buffers overlap in time to fit into memory.
    #[error("more than {} MiB of its buffers overlap in time: it is damaged", OPEN_BYTES_MAX >> 20)]
    TooWide,
}

/// The integrity of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Integrity {
    /// Buffers read.
    pub buffers: u64,
    /// Buffers that could not be read to their end.
    pub damaged_buffers: u64,
    /// Records with an impossible time.
    pub misdated_records: u64,
    /// Whether the file ends within a buffer.
    pub truncated: bool,
}

impl Integrity {
    /// What is damaged; `None` if nothing is.
    #[must_use]
    pub fn damage(self) -> Option<String> {
        let Self { buffers, damaged_buffers, misdated_records, truncated } = self;
        let damaged = damaged_buffers > 0 || misdated_records > 0 || truncated;
        damaged.then(|| {
            format!(
                "{damaged_buffers} of its {buffers} buffers could not be read to their end, {misdated_records} \
                 records have an impossible time{}",
                if truncated { ", and it ends within a buffer" } else { "" }
            )
        })
    }
}

/// When a buffer begins, and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Dated {
    first_ns: u64,
    place: Place,
}

/// A trace file.
#[derive(Debug)]
pub struct Reader<R> {
    file: R,
    header: Header,
    integrity: Integrity,
    /// The buffers in order of time, and how many were opened.
    dated: Vec<Dated>,
    opened: usize,
    /// The open buffers by the time of their next record.
    queue: BinaryHeap<Reverse<(u64, usize)>>,
    open: Vec<Open>,
    open_bytes: u64,
    scratch: Vec<u8>,
}

/// An open buffer, or a free slot.
#[derive(Clone, Debug, Default)]
struct Open {
    data: Vec<u8>,
    at: usize,
    bytes: u64,
}

impl<R: Read + Seek> Reader<R> {
    /// Opens a trace and passes all its records to `survey`, unordered, each with its time in nanoseconds
    /// since boot.
    ///
    /// # Errors
    /// When it cannot be read, or is no trace.
    pub fn open(mut file: R, mut survey: impl FnMut(&Header, u64, &Record<'_>)) -> Result<Self, ReadError> {
        file.seek(SeekFrom::Start(0))?;
        let head = buffer::read_header(&mut file)?.ok_or(ReadError::NoTrace)?;
        let first = Place::read(0, &head).ok_or(ReadError::NoTrace)?;
        let (mut scratch, mut data) = (Vec::new(), Vec::new());
        first.load(&mut file, &mut scratch, &mut data)?;
        let header = Header::read(&data).ok_or(ReadError::NoTrace)?;
        let mut reader = Self {
            file,
            header,
            integrity: Integrity::default(),
            dated: Vec::new(),
            opened: 0,
            queue: BinaryHeap::new(),
            open: Vec::new(),
            open_bytes: 0,
            scratch,
        };
        reader.survey(data, &mut survey)?;
        reader.dated.sort_by_key(|dated| dated.first_ns);
        Ok(reader)
    }

    /// The header of the trace.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The integrity of the file.
    pub fn integrity(&self) -> Integrity {
        self.integrity
    }

    fn survey(
        &mut self,
        mut data: Vec<u8>,
        survey: &mut impl FnMut(&Header, u64, &Record<'_>),
    ) -> Result<(), ReadError> {
        let mut offset = 0;
        loop {
            self.file.seek(SeekFrom::Start(offset))?;
            let Some(head) = buffer::read_header(&mut self.file)? else {
                self.integrity.truncated |= self.file.stream_position()? > offset;
                return Ok(());
            };
            self.integrity.buffers += 1;
            let Some(place) = Place::read(offset, &head) else {
                // Uncompressed buffers have one size, so the next one can be found.
                self.integrity.damaged_buffers += 1;
                let step = u64::from(self.header.buffer_bytes);
                if step < HEADER_BYTES as u64 {
                    return Ok(());
                }
                offset += step;
                continue;
            };
            let whole = place.load(&mut self.file, &mut self.scratch, &mut data)?;
            let mut first_ns = None;
            let mut records = Records::new(&data, 0);
            for record in &mut records {
                let Some(at_ns) = self.header.at_ns(record.time) else {
                    self.integrity.misdated_records += 1;
                    continue;
                };
                first_ns.get_or_insert(at_ns);
                survey(&self.header, at_ns, &record);
            }
            self.integrity.damaged_buffers += u64::from(!whole || records.damaged());
            self.dated.extend(first_ns.map(|first_ns| Dated { first_ns, place }));
            offset = place.next();
        }
    }

    /// Passes about `wanted` records to `visit`, in order of time. Returns whether there may be more.
    ///
    /// # Errors
    /// When the file cannot be read, or its damage would exhaust the memory.
    pub fn read(
        &mut self,
        wanted: usize,
        mut visit: impl FnMut(&Header, u64, &Record<'_>),
    ) -> Result<bool, ReadError> {
        let mut left = wanted;
        while left > 0 {
            self.open_due()?;
            let Some(Reverse((_, slot))) = self.queue.pop() else {
                return Ok(false);
            };
            // Read on until a record of another buffer is older.
            let until_ns = [
                self.queue.peek().map(|Reverse((at_ns, _))| *at_ns),
                self.dated.get(self.opened).map(|dated| dated.first_ns),
            ];
            let until_ns = until_ns.into_iter().flatten().min().unwrap_or(u64::MAX);
            left = self.drain(slot, until_ns, left, &mut visit);
        }
        Ok(true)
    }

    /// Passes the records of an open buffer up to `until_ns`: at least one, at most `left`. Returns how many
    /// are still wanted.
    fn drain(
        &mut self,
        slot: usize,
        until_ns: u64,
        mut left: usize,
        visit: &mut impl FnMut(&Header, u64, &Record<'_>),
    ) -> usize {
        let Some(open) = self.open.get_mut(slot) else {
            return left;
        };
        let mut records = Records::new(&open.data, open.at);
        let mut shown = false;
        loop {
            let at = records.at();
            let Some(record) = records.next() else {
                self.open_bytes -= open.bytes;
                open.bytes = 0;
                return left;
            };
            let Some(at_ns) = self.header.at_ns(record.time) else {
                continue;
            };
            if shown && (at_ns > until_ns || left == 0) {
                open.at = at;
                self.queue.push(Reverse((at_ns, slot)));
                return left;
            }
            visit(&self.header, at_ns, &record);
            left = left.saturating_sub(1);
            shown = true;
        }
    }

    /// Opens the buffers that begin before the oldest record of the open ones.
    fn open_due(&mut self) -> Result<(), ReadError> {
        while let Some(&Dated { first_ns, place }) = self.dated.get(self.opened) {
            if self.queue.peek().is_some_and(|Reverse((at_ns, _))| *at_ns < first_ns) {
                break;
            }
            self.opened += 1;
            self.open_bytes += place.unpacked_bytes();
            if self.open_bytes > OPEN_BYTES_MAX {
                return Err(ReadError::TooWide);
            }
            let slot = self.open.iter().position(|open| open.bytes == 0).unwrap_or(self.open.len());
            if slot == self.open.len() {
                self.open.push(Open::default());
            }
            if let Some(open) = self.open.get_mut(slot) {
                (open.at, open.bytes) = (0, place.unpacked_bytes());
                place.load(&mut self.file, &mut self.scratch, &mut open.data)?;
                self.queue.push(Reverse((first_ns, slot)));
            }
        }
        Ok(())
    }
}
