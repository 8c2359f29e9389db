#![doc = include_str!("../../docs/format.md")]

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
