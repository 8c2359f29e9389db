//! The buffers of a file: each a header of 72 bytes (`WMI_BUFFER_HEADER`, ntwmi.h) and records.
//!
//! Surprising: in the header of a compressed buffer, the size is that in the file, and the filled size is
//! that after decompression.

use super::xpress;
use crate::source::windows::bytes::Bytes;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};

/// Size of a buffer's header in bytes.
pub(super) const HEADER_BYTES: usize = 72;
/// The size of the largest buffer of Windows: 16 MiB (`EVENT_TRACE_PROPERTIES.BufferSize`).
const BUFFER_BYTES_MAX: u32 = 16 << 20;
/// `ETW_BUFFER_FLAG_COMPRESSED`.
const COMPRESSED: u16 = 0x40;

/// The place of a buffer, from its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Offset in the file.
    offset: u64,
    /// Bytes in the file, with the header.
    size: u32,
    /// Bytes of header and records after decompression.
    filled: u32,
    compressed: bool,
}

impl Place {
    /// Decodes the header at `offset`. `None` when it is none.
    pub(super) fn read(offset: u64, header: &[u8; HEADER_BYTES]) -> Option<Self> {
        let mut bytes = Bytes(header);
        let size = bytes.u32()?;
        bytes.take(0x2c)?;
        let (filled, flags) = (bytes.u32()?, bytes.u16()?);
        let shortest = u32::try_from(HEADER_BYTES).ok()?;
        let sizes = shortest..=BUFFER_BYTES_MAX;
        let compressed = flags & COMPRESSED != 0;
        let fits = compressed || filled <= size;
        let is_one = sizes.contains(&size) && sizes.contains(&filled) && fits;
        is_one.then_some(Self { offset, size, filled, compressed })
    }

    /// Where the next buffer begins.
    pub(super) fn next(&self) -> u64 {
        self.offset + u64::from(self.size)
    }

    /// The memory that its records need.
    pub(super) fn unpacked_bytes(&self) -> u64 {
        u64::from(self.filled)
    }

    /// Reads its records into `data`. Returns whether they were complete and undamaged.
    pub(super) fn load(
        &self,
        file: &mut (impl Read + Seek),
        scratch: &mut Vec<u8>,
        data: &mut Vec<u8>,
    ) -> io::Result<bool> {
        data.clear();
        file.seek(SeekFrom::Start(self.offset + HEADER_BYTES as u64))?;
        let filled = self.filled as usize - HEADER_BYTES;
        if !self.compressed {
            read_up_to(file, data, filled)?;
            return Ok(data.len() == filled);
        }
        scratch.clear();
        let packed = self.size as usize - HEADER_BYTES;
        read_up_to(file, scratch, packed)?;
        let whole = scratch.len() == packed;
        Ok(xpress::unpack(scratch, data, filled).is_some() && whole && data.len() == filled)
    }
}

/// Reads `count` bytes, or fewer where the file ends.
pub(super) fn read_up_to(file: &mut impl Read, data: &mut Vec<u8>, count: usize) -> io::Result<()> {
    file.take(count as u64).read_to_end(data).map(drop)
}

/// Reads a buffer's header. `None` at the end of the file.
pub(super) fn read_header(file: &mut impl Read) -> io::Result<Option<[u8; HEADER_BYTES]>> {
    let mut header = [0; HEADER_BYTES];
    match file.read_exact(&mut header) {
        Ok(()) => Ok(Some(header)),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}
