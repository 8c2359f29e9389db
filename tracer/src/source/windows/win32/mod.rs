//! Calls the interfaces of Windows, and does nothing else.
//!
//! The answers are parsed in `inventory`. A failed call is an error with its number. This code was tested
//! under wine, never on Windows itself.

mod bound;
mod buffer;
mod command;
mod drivers;
mod handle;
mod one_shot;
mod processes;
mod ranges;
mod registry;
mod services;
mod sockets;
mod system;
mod text;

pub use drivers::{drivers, enable_debug_privilege};
pub use one_shot::{advice, processes_and_services, take_one_shot};
pub use processes::{process_exists, processes};
pub use ranges::ranges;
pub use registry::{max_user_port, time_wait_delay};
pub use services::services;
pub use sockets::{Sockets, sockets};
pub use system::{boot_filetime, now_filetime, version};

pub use super::inventory::ranges::Ranges;

use crate::source::SourceError;
use std::io;

/// `ERROR_ACCESS_DENIED` (winerror.h).
const ACCESS_DENIED: u32 = 5;

/// The error of a call that failed with this number (winerror.h).
fn failure(what: &str, code: u32) -> SourceError {
    let remedy = match code {
        ACCESS_DENIED => "run portleak as Administrator",
        _ => "look the error up with: net helpmsg NUMBER; portleak doctor shows what works nevertheless",
    };
    let error = io::Error::from_raw_os_error(code.cast_signed());
    SourceError { what: format!("{what}: {error}"), remedy: remedy.to_owned() }
}

/// The error of a kernel call that failed with this NTSTATUS (ntstatus.h).
fn refused(what: &str, status: u32) -> SourceError {
    let remedy = "run portleak as Administrator; portleak doctor shows what works nevertheless";
    SourceError { what: format!("{what}: NTSTATUS {status:#010x}"), remedy: remedy.to_owned() }
}

/// The error number of the last call on this thread.
fn last_error() -> u32 {
    io::Error::last_os_error().raw_os_error().map_or(0, i32::cast_unsigned)
}
