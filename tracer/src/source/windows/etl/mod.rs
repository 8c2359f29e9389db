//! `.etl` files: recordings of `netsh trace`, `wpr` and `logman`, read on any system.

mod buffer;
mod header;
mod reader;
mod records;
mod trace;
mod trace_index;
mod xpress;

pub use header::{Header, UNIX_EPOCH};
pub use reader::{Integrity, ReadError, Reader};
pub use trace::Trace;
pub use trace_index::RECORD_COMMAND;
