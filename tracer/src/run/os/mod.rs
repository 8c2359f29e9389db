//! Processes and signals, where systems differ.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
use unix as system;
#[cfg(windows)]
use windows as system;

pub(super) use system::{HOW_TO_EXECUTE, Listener, has_terminal, send};
pub use system::{exit_code, page_bytes};
