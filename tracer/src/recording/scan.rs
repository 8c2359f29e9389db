//! Moves from block to block of a file, across damage to the next intact block.

use super::block::{BlockHeader, HEADER_LEN};
use super::damage::{Damage, Flaws};
use std::io::{self, BufReader, Read, Seek, SeekFrom};

/// Bytes that are searched at once for the next block.
const WINDOW: u64 = 64 << 10;

/// A place in a file.
#[derive(Debug)]
pub(super) struct Scan<R> {
    file: BufReader<R>,
    /// Offset of the block whose header was read last, and of the next byte to read.
    block: u64,
    at: u64,
    stored: Vec<u8>,
}

impl<R: Read + Seek> Scan<R> {
    /// Begins at `at`.
    pub(super) fn new(file: R, at: u64) -> io::Result<Self> {
        Self { file: BufReader::new(file), block: at, at, stored: Vec::new() }.restart(at)
    }

    /// The same file, from `at` on.
    pub(super) fn restart(mut self, at: u64) -> io::Result<Self> {
        self.go_to(at)?;
        Ok(self)
    }

    fn go_to(&mut self, at: u64) -> io::Result<()> {
        self.at = at;
        self.file.seek(SeekFrom::Start(at)).map(drop)
    }

    /// The header of the next intact block; `None` at the end of the file.
    pub(super) fn header(&mut self, flaws: &mut Flaws) -> io::Result<Option<BlockHeader>> {
        let mut bytes = [0; HEADER_LEN];
        self.block = self.at;
        let read = read_up_to(&mut self.file, &mut bytes)?;
        self.at += read as u64;
        if read == 0 {
            return Ok(None);
        }
        if let Some(header) = BlockHeader::parse(&bytes).filter(|_| read == HEADER_LEN) {
            return Ok(Some(header));
        }
        let offset = self.block;
        let found = self.find(offset + 1)?;
        let end = if found.is_some() { self.block } else { self.at };
        flaws.damaged(Damage { offset, bytes: end - offset, cut: found.is_none() });
        Ok(found)
    }

    /// Skips the content.
    pub(super) fn skip(&mut self, header: &BlockHeader) -> io::Result<()> {
        self.at += u64::from(header.stored_len);
        self.file.seek_relative(header.stored_len.into())
    }

    /// Reads the content of the block; `false` when it is damaged or cut.
    pub(super) fn content(
        &mut self,
        header: &BlockHeader,
        content: &mut Vec<u8>,
        flaws: &mut Flaws,
    ) -> io::Result<bool> {
        self.stored.resize(header.stored_len as usize, 0);
        let read = read_up_to(&mut self.file, &mut self.stored)?;
        self.at += read as u64;
        let cut = read < self.stored.len();
        if !cut && header.unpack(&self.stored, content) {
            return Ok(true);
        }
        flaws.damaged(Damage { cut, ..self.whole_block() });
        Ok(false)
    }

    /// The extent of the block that was read last, as damage.
    pub(super) fn whole_block(&self) -> Damage {
        Damage { offset: self.block, bytes: self.at - self.block, cut: false }
    }

    /// Searches for a header from `start` on and reads it; `None` if the file has no more.
    fn find(&mut self, start: u64) -> io::Result<Option<BlockHeader>> {
        self.go_to(start)?;
        let (mut window, mut window_at) = (Vec::new(), start);
        loop {
            let read = self.file.by_ref().take(WINDOW).read_to_end(&mut window)?;
            let headers = window.array_windows::<HEADER_LEN>().map(BlockHeader::parse);
            if let Some((at, header)) = headers.enumerate().find_map(|(at, header)| Some((at, header?))) {
                self.block = window_at + at as u64;
                self.go_to(self.block + HEADER_LEN as u64)?;
                return Ok(Some(header));
            }
            if read == 0 {
                self.at = window_at + window.len() as u64;
                return Ok(None);
            }
            // A header may begin in this window and end in the next.
            let done = window.len().saturating_sub(HEADER_LEN - 1);
            window.drain(..done);
            window_at += done as u64;
        }
    }
}

/// Fills `bytes` as far as the file reaches.
fn read_up_to(file: &mut impl Read, bytes: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read(&mut bytes[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
