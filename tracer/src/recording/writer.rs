//! Writes a recording block by block, so that a crash loses one second at most.

use super::block::{Kind, Packer};
use super::field::Encoder;
use super::header::Header;
use super::names::{self, Namer};
use super::{MAGIC, MAJOR, MINOR};
use crate::event::Event;
use crate::symbols::Symbols;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::Instant;

/// A block is closed at this length …
const BLOCK_BYTES: usize = 64 << 10;
/// … or at this age.
const BLOCK_NS: u64 = 1_000_000_000;
/// Places named in one block.
const NAMES_MAX: usize = 1_000;

/// The recording could not be written.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file could not be created.
    #[error(
        "cannot write the recording {name}: {error}\n  remedy: choose a --record file in a writable folder"
    )]
    Create {
        /// The file's name.
        name: String,
        /// Why.
        error: io::Error,
    },
    /// The disk accepts no more. What was written before can be replayed.
    #[error("the recording {name} was not finished: its disk is too slow\n  remedy: record to a faster disk")]
    Stalled {
        /// The file's name.
        name: String,
    },
    /// A write failed. What was written before can be replayed.
    #[error(
        "cannot write the recording {name}: {error}\n  remedy: free space there, or choose another --record"
    )]
    Write {
        /// The file's name.
        name: String,
        /// Why.
        error: io::Error,
    },
}

/// A recording that is being written.
pub struct Recording {
    name: String,
    file: Box<dyn Write + Send>,
    packer: Packer,
    encoder: Encoder,
    /// Events in the block, and when it began.
    events: u32,
    block_began_ns: u64,
    namer: Namer,
}

impl Recording {
    /// Begins the file at `path`; one that is there already is replaced. `symbols` names the call
    /// sites in it.
    ///
    /// # Errors
    /// When it cannot be created or written.
    pub fn create(path: &Path, symbols: Symbols) -> Result<Self, RecordError> {
        let name = path.display().to_string();
        match File::create(path) {
            Ok(file) => Self::new(&name, Box::new(file), symbols),
            Err(error) => Err(RecordError::Create { name, error }),
        }
    }

    /// Begins a recording in `file`, called `name` in errors.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn new(name: &str, file: Box<dyn Write + Send>, symbols: Symbols) -> Result<Self, RecordError> {
        let mut recording = Self {
            name: name.to_owned(),
            file,
            packer: Packer::default(),
            encoder: Encoder::default(),
            events: 0,
            block_began_ns: 0,
            namer: Namer::new(symbols),
        };
        let begun = [&MAGIC[..], &MAJOR.to_le_bytes(), &MINOR.to_le_bytes()].concat();
        recording.file.write_all(&begun).map_err(|error| recording.broken(error))?;
        Ok(recording)
    }

    /// Writes the header, before all events.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn begin(&mut self, header: &Header) -> Result<(), RecordError> {
        let header = serde_json::to_vec(header).map_err(|error| self.broken(error.into()))?;
        self.write(Kind::HEADER, &header, 0)
    }

    /// The file's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Writes events and the instant to which the engine advances after them; `None` when the next
    /// batch belongs to the same instant.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn batch(&mut self, events: &[Event], until_ns: Option<u64>) -> Result<(), RecordError> {
        let now_ns = until_ns.unwrap_or(self.block_began_ns);
        for event in events {
            self.namer.observe(&event.kind);
            self.encoder.event(event);
            self.events += 1;
            if self.encoder.bytes().len() >= BLOCK_BYTES {
                self.close_block(now_ns)?;
            }
        }
        if until_ns.is_some() {
            self.encoder.mark(now_ns);
        }
        if now_ns >= self.block_began_ns + BLOCK_NS {
            self.close_block(now_ns)?;
            let found = self.namer.found();
            self.write_names(&found)?;
        }
        Ok(())
    }

    /// Writes the last block, the names that are known by `names_by`, and the end.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn end(mut self, names_by: Instant) -> Result<(), RecordError> {
        self.close_block(0)?;
        let rest = self.namer.rest(names_by);
        self.write_names(&rest)?;
        self.write(Kind::END, &[], 0)
    }

    fn close_block(&mut self, now_ns: u64) -> Result<(), RecordError> {
        self.block_began_ns = now_ns;
        if self.encoder.bytes().is_empty() {
            return Ok(());
        }
        let block = self.packer.pack(Kind::EVENTS, self.encoder.bytes(), self.events);
        let written = self.file.write_all(block);
        self.encoder.clear();
        self.events = 0;
        written.map_err(|error| self.broken(error))
    }

    fn write_names(&mut self, found: &[names::Named]) -> Result<(), RecordError> {
        found.chunks(NAMES_MAX).try_for_each(|some| self.write(Kind::NAMES, &names::content(some), 0))
    }

    fn write(&mut self, kind: Kind, content: &[u8], events: u32) -> Result<(), RecordError> {
        let block = self.packer.pack(kind, content, events);
        let written = self.file.write_all(block);
        written.map_err(|error| self.broken(error))
    }

    fn broken(&self, error: io::Error) -> RecordError {
        RecordError::Write { name: self.name.clone(), error }
    }
}
