//! A name for a session that no other portleak uses while it lives.
//!
//! Windows knows a session by its name alone, and not whether anybody reads it. So each name has a
//! mutex beside it, which ends with the process: who has the mutex may end a session of that name,
//! for whoever began it is gone. A trace is thereby safe from a `portleak doctor` beside it.

use super::providers::{SLOTS, session_name};
use super::session_error::{ACCESS_DENIED, ALREADY_EXISTS, all_taken};
use crate::source::SourceError;
use std::io;
use std::os::windows::io::{FromRawHandle, OwnedHandle};
use std::ptr::null;
use windows_sys::Win32::System::Threading::CreateMutexW;

/// A name, ours for as long as this value lives.
#[derive(Debug)]
pub(super) struct SessionName {
    /// The session's name.
    pub(super) name: String,
    _mutex: OwnedHandle,
}

impl SessionName {
    /// Takes the first name that is free.
    ///
    /// # Errors
    /// When none is, or Windows refuses.
    pub(super) fn take() -> Result<Self, SourceError> {
        for name in (0..SLOTS).map(session_name) {
            // A mutex of that name which another user has made may not be opened.
            match mutex(&name) {
                Ok(mutex) => return Ok(Self { name, _mutex: mutex }),
                Err(ALREADY_EXISTS | ACCESS_DENIED) => {}
                Err(number) => return Err(super::session_error::cannot_begin(&name, number)),
            }
        }
        Err(all_taken())
    }
}

/// Makes the mutex of a name for all users' sessions, unless there is one. The error is a number of
/// winerror.h.
fn mutex(name: &str) -> Result<OwnedHandle, u32> {
    let name: Vec<u16> = format!("Global\\{name}-session").encode_utf16().chain([0]).collect();
    // SAFETY: the name ends with zero and outlives the call; no attributes are given.
    let handle = unsafe { CreateMutexW(null(), 0, name.as_ptr()) };
    let number = io::Error::last_os_error().raw_os_error().map_or(0, i32::cast_unsigned);
    if handle.is_null() {
        return Err(number);
    }
    // SAFETY: the handle is open, and nobody else's.
    let handle = unsafe { OwnedHandle::from_raw_handle(handle) };
    // It is opened if there is one already: then it is dropped here.
    if number == ALREADY_EXISTS { Err(number) } else { Ok(handle) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_at_a_time_have_names_of_their_own() {
        let (first, second) = (SessionName::take().unwrap(), SessionName::take().unwrap());
        assert_ne!(first.name, second.name);
        let free = first.name.clone();
        drop(first);
        assert!(mutex(&free).is_ok(), "{free} is free again");
    }
}
