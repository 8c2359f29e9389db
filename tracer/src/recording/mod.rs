//! Recordings: the events of a source in a file, to be replayed on any machine. `docs/format.md` is
//! the specification.
//!
//! ```text
//! magic (8 bytes) · version: major, minor (u16 each)
//! block: header  the capture and its configuration (JSON, not compressed)
//! block: events  up to 64 KiB or one second of events
//! block: names   resolved call sites (JSON)
//! …
//! block: end     the recording is complete
//! ```
//!
//! Each block has a header with its length and two checksums (`block`) and refers to no other block.
//! A file that is cut or damaged is therefore readable in all blocks that are intact. Each record in
//! a block has a length, so a reader skips kinds of events that it does not know (`kinds` lists
//! them). A new major version is a change that older readers cannot skip; they reject it.
//!
//! Time marks between the events are the instants at which the engine advanced. A replay advances at
//! the same instants and so has the same findings.

mod block;
mod damage;
mod events;
mod field;
mod header;
mod kinds;
mod names;
mod reader;
mod scan;
mod tables;
#[cfg(test)]
mod tests;
mod writer;

pub use damage::{Damage, Flaws};
pub use header::Header;
pub use reader::{OpenError, Reader, Turn};
pub use writer::{RecordError, Recording};

/// The first bytes of a recording. As in PNG, the first byte is not ASCII, and the line ends reveal a
/// transfer that converts them.
pub const MAGIC: [u8; 8] = *b"\x89PLK\r\n\x1a\n";
/// The version that this program writes, and the newest that it reads.
pub const MAJOR: u16 = 1;
/// Counts additions that older readers skip.
pub const MINOR: u16 = 0;
