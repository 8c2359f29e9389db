//! Recordings: what a source said, in a file, to be judged again on any machine.
//!
//! ```text
//! magic (8 bytes) · version: major, minor (u16 each)
//! block: header  what was captured, and how it was judged (JSON, not compressed)
//! block: events  at most 64 KiB or a second of them, whichever comes first
//! block: names   of call sites, as they were found out (JSON)
//! …
//! block: end     closed as it should be
//! ```
//!
//! All numbers are little-endian. Each block has a header with its length and two checksums
//! (`block`), and refers to no other block, so a file that was cut or damaged still gives all
//! blocks that are whole. Each record in a block has its length, so that a reader passes over
//! kinds of events that are younger than itself (`kinds` has them all). A major version is a
//! change that older readers cannot pass over; they refuse it by name.
//!
//! The marks of time in between are the instants at which the engine was told the time. With them
//! a replay is told the same in the same order, so it finds the same.

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

/// The first bytes of a recording. The first is no text; the line ends show a transfer that "mends"
/// them, as PNG has it.
pub const MAGIC: [u8; 8] = *b"\x89PLK\r\n\x1a\n";
/// The version that this program writes, and the youngest that it reads.
pub const MAJOR: u16 = 1;
/// Counts additions that older readers pass over.
pub const MINOR: u16 = 0;
