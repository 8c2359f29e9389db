//! Processes and signals, where systems differ.

#[cfg(not(unix))]
mod other;
#[cfg(unix)]
mod unix;

#[cfg(not(unix))]
use other as system;
#[cfg(unix)]
use unix as system;

pub(super) use system::{Listener, has_terminal, send};
pub use system::{exit_code, page_bytes, process_exists};
