//! Processes and signals, where systems differ.

pub mod child;
mod signal;
pub mod signals;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
use unix as system;
#[cfg(windows)]
use windows as system;

pub use signal::Signal;
pub use system::{exit_code, page_bytes};
