//! The encoding of values. Small numbers are short. Values that repeat (owners, addresses, texts) are
//! written once per block and then referred to by number.

use super::tables::{Defined, Numbered, Tables};
use std::mem::take;

/// Records with a lower tag define values that later records refer to; the others carry a time.
pub(super) const FIRST_TIMED: u8 = 16;

/// A record cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Undecodable {
    /// Its kind or a value is of a later version.
    Unknown,
    /// No version writes such a record.
    Broken,
}

/// A value that events consist of.
pub(super) trait Field: Sized {
    /// Appends it to the record.
    fn put(&self, to: &mut Encoder);
    /// Takes it from the record.
    fn take(from: &mut Decoder<'_>) -> Result<Self, Undecodable>;
}

/// Writes the records of one block.
#[derive(Debug, Default)]
pub(super) struct Encoder {
    block: Vec<u8>,
    record: Vec<u8>,
    numbered: Numbered,
    before_ns: u64,
    /// Hold ids are written as distances from the first one of the block.
    hold_base: Option<u64>,
}

impl Encoder {
    /// The bytes of the block so far.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.block
    }

    /// Begins a new block, which refers to nothing in the one before.
    pub(super) fn clear(&mut self) {
        self.block.clear();
        self.numbered.clear();
        self.before_ns = 0;
        self.hold_base = None;
    }

    /// Appends a record that has a time.
    pub(super) fn timed(&mut self, tag: u8, at_ns: u64, payload: impl FnOnce(&mut Self)) {
        self.record.clear();
        self.distance(at_ns, self.before_ns);
        self.before_ns = at_ns;
        payload(self);
        self.append(tag);
    }

    /// Writes a value's number; defines it first if it is new in this block.
    pub(super) fn refer<T: Defined>(&mut self, value: &T) {
        if let Some(&number) = T::numbered(&mut self.numbered).get(value) {
            return self.number(number.into());
        }
        let outer = take(&mut self.record);
        value.put_whole(self);
        self.append(T::TAG);
        self.record = outer;
        let numbers = T::numbered(&mut self.numbered);
        let number = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
        numbers.insert(value.clone(), number);
        self.number(number.into());
    }

    /// The id of a hold.
    pub(super) fn hold(&mut self, id: u64) {
        let base = match self.hold_base {
            Some(base) => base,
            None => self.define_hold_base(id),
        };
        self.distance(id, base);
    }

    fn define_hold_base(&mut self, id: u64) -> u64 {
        let outer = take(&mut self.record);
        self.number(id);
        self.append(super::tables::HOLD_BASE);
        self.record = outer;
        self.hold_base = Some(id);
        id
    }

    /// Moves the record to the block, preceded by its length and tag.
    fn append(&mut self, tag: u8) {
        put_number(&mut self.block, self.record.len() as u64);
        self.block.push(tag);
        self.block.append(&mut self.record);
    }

    /// LEB128: seven bits per byte, lowest first.
    pub(super) fn number(&mut self, number: u64) {
        put_number(&mut self.record, number);
    }

    /// A number as its zigzag-encoded distance from another.
    fn distance(&mut self, number: u64, from: u64) {
        let ahead = number.wrapping_sub(from).cast_signed();
        self.number(((ahead << 1) ^ (ahead >> 63)).cast_unsigned());
    }

    pub(super) fn byte(&mut self, byte: u8) {
        self.record.push(byte);
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.record.extend_from_slice(bytes);
    }
}

fn put_number(to: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        to.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    to.push((number & 0x7f) as u8);
}

/// Reads one record.
#[derive(Debug)]
pub(super) struct Decoder<'a> {
    left: &'a [u8],
    tables: &'a Tables,
}

impl<'a> Decoder<'a> {
    pub(super) fn new(record: &'a [u8], tables: &'a Tables) -> Self {
        Self { left: record, tables }
    }

    /// Whether the record ends here: an older version wrote it without the fields that follow.
    pub(super) fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    /// The rest of the record.
    pub(super) fn rest(&mut self) -> &'a [u8] {
        take(&mut self.left)
    }

    pub(super) fn byte(&mut self) -> Result<u8, Undecodable> {
        let (&first, rest) = self.left.split_first().ok_or(Undecodable::Broken)?;
        self.left = rest;
        Ok(first)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Undecodable> {
        let (first, rest) = self.left.split_first_chunk().ok_or(Undecodable::Broken)?;
        self.left = rest;
        Ok(*first)
    }

    pub(super) fn number(&mut self) -> Result<u64, Undecodable> {
        take_number(&mut self.left)
    }

    pub(super) fn distance(&mut self, from: u64) -> Result<u64, Undecodable> {
        let folded = self.number()?;
        Ok(from.wrapping_add((folded >> 1) ^ (folded & 1).wrapping_neg()))
    }

    /// The value that a number refers to.
    pub(super) fn refer<T: Defined>(&mut self) -> Result<T, Undecodable> {
        let number = usize::try_from(self.number()?).map_err(|_| Undecodable::Broken)?;
        T::known(self.tables).get(number).ok_or(Undecodable::Broken)?.clone().ok_or(Undecodable::Unknown)
    }

    pub(super) fn hold(&mut self) -> Result<u64, Undecodable> {
        self.distance(self.tables.hold_base)
    }
}

/// Takes a number from the front of `from`.
pub(super) fn take_number(from: &mut &[u8]) -> Result<u64, Undecodable> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = from.split_first().ok_or(Undecodable::Broken)?;
        *from = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err(Undecodable::Broken)
}
