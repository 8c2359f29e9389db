//! `.etl` files: what `netsh trace`, `wpr` and `logman` record, read on any system.

mod buffer;
mod header;
mod reader;
mod records;
mod survey;
mod trace;
mod xpress;

pub use header::{Header, UNIX_EPOCH};
pub use reader::{Integrity, ReadError, Reader};
pub use survey::RECORD_COMMAND;
pub use trace::Trace;
