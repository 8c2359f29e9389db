//! Files to replay: what kind one is, by its first bytes, and why one cannot be replayed.

use super::windows::etl::Trace;
use super::{Source, SourceError, Turn};
use crate::event::{Capture, Event};
use crate::recording::{MAGIC, OpenError, Reader};
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;

/// Bytes that tell the kind.
const HEAD_LEN: usize = 80;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Recording,
    Empty,
    /// Of a recording, but the first bytes are all there is.
    Stub,
    /// A Windows event trace log.
    Etl,
    /// Packed, with the name of the program that unpacks it.
    Packed(&'static str),
    /// Captured packets.
    Packets,
    /// portleak's own JSON lines.
    Json,
    Text,
    Other,
}

impl Kind {
    /// The one place where the kind of a file is decided.
    fn of(head: &[u8]) -> Self {
        if head.starts_with(&MAGIC) {
            return Self::Recording;
        }
        let packed = [
            (&b"\x1f\x8b"[..], "gunzip"),
            (b"\x28\xb5\x2f\xfd", "unzstd"),
            (b"\xfd7zXZ\0", "unxz"),
            (b"BZh", "bunzip2"),
            (b"PK\x03\x04", "unzip"),
        ];
        let packets = [
            [0xa1, 0xb2, 0xc3, 0xd4],
            [0xd4, 0xc3, 0xb2, 0xa1],
            [0x0a, 0x0d, 0x0d, 0x0a],
            [0x4d, 0x3c, 0xb2, 0xa1],
        ];
        if let Some((_, program)) = packed.iter().find(|(magic, _)| head.starts_with(magic)) {
            Self::Packed(program)
        } else if packets.iter().any(|magic| head.starts_with(magic)) {
            Self::Packets
        } else if head.is_empty() {
            Self::Empty
        } else if MAGIC.starts_with(head) {
            Self::Stub
        } else if is_etl(head) {
            Self::Etl
        } else if head.starts_with(b"{\"schema\":") {
            Self::Json
        } else if head.iter().all(|byte| !byte.is_ascii_control() || byte.is_ascii_whitespace()) {
            Self::Text
        } else {
            Self::Other
        }
    }

    /// Why it cannot be replayed, and what to do.
    fn refusal(self) -> (String, String) {
        let record = "record one with portleak run --record FILE, or trace --record FILE";
        let (is, remedy) = match self {
            Self::Recording | Self::Etl | Self::Other => ("is not a recording of portleak", record),
            Self::Empty => ("is empty", record),
            Self::Stub => ("is cut within its first bytes: nothing can be read", record),
            Self::Packets => ("contains captured packets, which do not show who holds ports", record),
            Self::Json => ("is the output of --format json, which cannot be replayed", record),
            Self::Text => ("is a text", record),
            Self::Packed(program) => {
                return ("is packed".to_owned(), format!("unpack it first: {program}"));
            }
        };
        (is.to_owned(), remedy.to_owned())
    }
}

/// Whether these are the first bytes of a Windows event trace log: a buffer that has 72 bytes of
/// header, and then a system record of a machine of 32 or 64 bits (kind 1 or 2, marker 0xC0).
fn is_etl(head: &[u8]) -> bool {
    let size = head.first_chunk().copied().map(u32::from_le_bytes);
    size.is_some_and(|size| size > 72) && matches!(head.get(74..76), Some([1 | 2, 0xc0]))
}

/// A file that can be replayed.
#[derive(Debug)]
pub enum Replayed {
    /// A recording of portleak's.
    Recording(Box<Reader<File>>),
    /// An event trace of Windows.
    Trace(Box<Trace>),
}

/// Opens a file to replay.
///
/// # Errors
/// When it is none, with what it is instead.
pub fn open(path: &Path) -> Result<Replayed, SourceError> {
    let name = path.display();
    let cannot = |what: &str, remedy: &str| SourceError {
        what: format!("cannot replay {name}: {what}"),
        remedy: remedy.to_owned(),
    };
    let unreadable =
        |error: io::Error| cannot(&error.to_string(), "check the file's name and its permissions");
    // Not asked of the open file: Windows opens no folder, and a pipe is waited for.
    if !path.metadata().map_err(unreadable)?.is_file() {
        return Err(cannot("it is not a regular file", "save it to a file first: it is read twice"));
    }
    let mut file = File::open(path).map_err(unreadable)?;
    let mut head = Vec::new();
    file.by_ref().take(HEAD_LEN as u64).read_to_end(&mut head).map_err(unreadable)?;
    file.rewind().map_err(unreadable)?;
    let kind = Kind::of(&head);
    if kind == Kind::Etl {
        return Trace::of(name.to_string(), file).map(|trace| Replayed::Trace(Box::new(trace)));
    }
    if kind != Kind::Recording {
        let (is, remedy) = kind.refusal();
        return Err(cannot(&format!("it {is}"), &remedy));
    }
    let reader = Reader::open(file).map_err(|error| match &error {
        OpenError::Newer { .. } => cannot(&error.to_string(), "update portleak"),
        OpenError::Foreign => cannot("it is cut within its first bytes", "record it again"),
        OpenError::NoHeader(_) => cannot(&error.to_string(), "ask for the file again, or record it again"),
        OpenError::Io(_) => cannot(&error.to_string(), "copy it to this machine first"),
    })?;
    Ok(Replayed::Recording(Box::new(reader)))
}

/// A recording has the instants at which the engine was told the time: its turns are those of the
/// trace.
impl<R: Read + Seek> Source for Reader<R> {
    fn capture(&self) -> &Capture {
        &self.header().capture
    }

    fn now_ns(&self) -> u64 {
        self.last_ns()
    }

    fn began_ns(&self) -> u64 {
        self.header().began_ns
    }

    async fn ready(&mut self) {}

    fn turn(&mut self, events: &mut Vec<Event>) -> Result<Turn, SourceError> {
        Self::turn(self, events).map_err(|error| SourceError {
            what: format!("cannot read the recording on: {error}"),
            remedy: "copy it to this machine first".to_owned(),
        })
    }

    fn drain(&mut self, events: &mut Vec<Event>) -> Result<(), SourceError> {
        Source::turn(self, events).map(drop)
    }

    fn stop(&mut self, _events: &mut Vec<Event>) -> Result<(), SourceError> {
        Ok(())
    }
}
