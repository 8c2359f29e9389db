//! Blocks of a recording: a header with checksums, then the content, compressed with LZ4 where that
//! makes it smaller.

/// The first bytes of each block; a reader searches for them after damage.
pub(super) const MARKER: [u8; 4] = *b"\x91PLB";
/// Length of a header in bytes.
pub(super) const HEADER_LEN: usize = 36;
/// The longest content that is accepted. A writer closes its blocks far below.
const CONTENT_MAX: u32 = 16 << 20;

/// What a block contains. A number, because later versions may add kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind(pub(super) u8);

impl Kind {
    pub(super) const HEADER: Self = Self(1);
    pub(super) const EVENTS: Self = Self(2);
    pub(super) const NAMES: Self = Self(3);
    pub(super) const END: Self = Self(4);
}

/// The header of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockHeader {
    pub(super) kind: Kind,
    /// Whether the content is compressed.
    compressed: bool,
    /// Length of the content, and of its stored form, in bytes.
    content_len: u32,
    pub(super) stored_len: u32,
    /// Number of events before this block, and in it.
    pub(super) events_before: u64,
    pub(super) events: u32,
    /// CRC-32 of the stored form.
    checksum: u32,
}

impl BlockHeader {
    fn bytes(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        let fields: [&[u8]; 8] = [
            &MARKER,
            &[self.kind.0, u8::from(self.compressed), 0, 0],
            &self.content_len.to_le_bytes(),
            &self.stored_len.to_le_bytes(),
            &self.events_before.to_le_bytes(),
            &self.events.to_le_bytes(),
            &self.checksum.to_le_bytes(),
            &[],
        ];
        let mut at = 0;
        for field in fields {
            bytes[at..at + field.len()].copy_from_slice(field);
            at += field.len();
        }
        let checksum = crc32fast::hash(&bytes[..at]);
        bytes[at..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// The header in these bytes; `None` when they are not a header.
    pub(super) fn parse(bytes: &[u8; HEADER_LEN]) -> Option<Self> {
        let u32_at = |at: usize| bytes[at..].first_chunk().copied().map(u32::from_le_bytes);
        let (head, _) = bytes.split_at(HEADER_LEN - 4);
        let whole = bytes.starts_with(&MARKER) && u32_at(HEADER_LEN - 4) == Some(crc32fast::hash(head));
        let header = Self {
            kind: Kind(bytes[4]),
            compressed: bytes[5] != 0,
            content_len: u32_at(8)?,
            stored_len: u32_at(12)?,
            events_before: u64::from_le_bytes(*bytes[16..].first_chunk()?),
            events: u32_at(24)?,
            checksum: u32_at(28)?,
        };
        let sane = header.content_len <= CONTENT_MAX && header.stored_len <= header.content_len;
        (whole && sane).then_some(header)
    }

    /// Unpacks the stored form into `content`; `false` when it is damaged.
    pub(super) fn unpack(&self, stored: &[u8], content: &mut Vec<u8>) -> bool {
        if crc32fast::hash(stored) != self.checksum {
            return false;
        }
        content.clear();
        if !self.compressed {
            content.extend_from_slice(stored);
            return true;
        }
        content.resize(self.content_len as usize, 0);
        lz4_flex::block::decompress_into(stored, content).is_ok_and(|len| len == content.len())
    }
}

/// Makes blocks; reuses its memory.
#[derive(Debug, Default)]
pub(super) struct Packer {
    stored: Vec<u8>,
    events_before: u64,
}

impl Packer {
    /// The bytes of the next block.
    pub(super) fn pack(&mut self, kind: Kind, content: &[u8], events: u32) -> &[u8] {
        let room = HEADER_LEN + lz4_flex::block::get_maximum_output_size(content.len());
        self.stored.resize(room.max(HEADER_LEN + content.len()), 0);
        let (head, body) = self.stored.split_at_mut(HEADER_LEN);
        // The recording's header stays readable in the file.
        let packed =
            if kind == Kind::HEADER { None } else { lz4_flex::block::compress_into(content, body).ok() };
        let packed = packed.filter(|len| *len < content.len());
        if packed.is_none() {
            body[..content.len()].copy_from_slice(content);
        }
        let stored_len = packed.unwrap_or(content.len());
        let length = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
        let header = BlockHeader {
            kind,
            compressed: packed.is_some(),
            content_len: length(content.len()),
            stored_len: length(stored_len),
            events_before: self.events_before,
            events,
            checksum: crc32fast::hash(&body[..stored_len]),
        };
        head.copy_from_slice(&header.bytes());
        self.events_before += u64::from(events);
        &self.stored[..HEADER_LEN + stored_len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(content: &[u8], expect_compressed: bool) {
        let mut packer = Packer::default();
        let block = packer.pack(Kind::EVENTS, content, 3).to_vec();
        let header = BlockHeader::parse(block.first_chunk().unwrap()).unwrap();
        let mut unpacked = Vec::new();
        assert!(header.unpack(&block[HEADER_LEN..], &mut unpacked));
        assert_eq!((unpacked.as_slice(), header.compressed), (content, expect_compressed));
        assert_eq!((header.kind, header.events_before, header.events), (Kind::EVENTS, 0, 3));
        let next = packer.pack(Kind::END, &[], 0);
        assert_eq!(BlockHeader::parse(next.first_chunk().unwrap()).unwrap().events_before, 3);
    }

    #[test]
    fn content_is_restored() {
        check(&[7; 10_000], true);
        check(b"short", false);
        check(&[], false);
    }

    #[test]
    fn a_changed_byte_is_detected() {
        let block = Packer::default().pack(Kind::EVENTS, &[7; 1_000], 3).to_vec();
        for at in 0..block.len() {
            let mut bytes = block.clone();
            bytes[at] ^= 0x10;
            let header = BlockHeader::parse(bytes.first_chunk().unwrap());
            let whole = header.is_some_and(|header| header.unpack(&bytes[HEADER_LEN..], &mut Vec::new()));
            assert!(!whole, "byte {at}");
        }
    }

    /// A forged length must not exhaust the reader's memory.
    #[test]
    fn a_forged_length_is_rejected() {
        let header = BlockHeader {
            kind: Kind::EVENTS,
            compressed: true,
            content_len: u32::MAX,
            stored_len: 10,
            events_before: 0,
            events: 0,
            checksum: 0,
        };
        assert_eq!(BlockHeader::parse(&header.bytes()), None);
    }
}
