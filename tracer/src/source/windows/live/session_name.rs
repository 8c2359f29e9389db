//! A session name that no other running portleak uses.
//!
//! Windows knows a session by its name alone, and not whether anything reads it. So each name has a
//! mutex beside it, which ends with its process. Whoever gets the mutex may end a session of that name:
//! the process that started it is gone. So `portleak doctor` never ends the session of a running trace.

use super::providers::{SESSIONS_MAX, session_name};
use super::session_error::{ACCESS_DENIED, ALREADY_EXISTS, all_in_use};
use crate::source::SourceError;
use std::io;
use std::os::windows::io::{FromRawHandle, OwnedHandle};
use std::ptr::null;
use windows_sys::Win32::System::Threading::CreateMutexW;

/// A name, reserved for as long as this value lives.
#[derive(Debug)]
pub(super) struct SessionName {
    /// The session's name.
    pub(super) name: String,
    _mutex: OwnedHandle,
}

impl SessionName {
    /// Reserves the first free name.
    ///
    /// # Errors
    /// When none is, or Windows refuses.
    pub(super) fn reserve() -> Result<Self, SourceError> {
        for name in (0..SESSIONS_MAX).map(session_name) {
            // Access is denied where another user has created the mutex.
            match mutex(&name) {
                Ok(mutex) => return Ok(Self { name, _mutex: mutex }),
                Err(ALREADY_EXISTS | ACCESS_DENIED) => {}
                Err(number) => return Err(super::session_error::cannot_start(&name, number)),
            }
        }
        Err(all_in_use())
    }
}

/// Creates the mutex of a name for all users' sessions, unless it exists. The error is a number of
/// winerror.h.
fn mutex(name: &str) -> Result<OwnedHandle, u32> {
    let name: Vec<u16> = format!("Global\\{name}-session").encode_utf16().chain([0]).collect();
    // SAFETY: the name ends with zero and outlives the call; the attributes are null.
    let handle = unsafe { CreateMutexW(null(), 0, name.as_ptr()) };
    let number = io::Error::last_os_error().raw_os_error().map_or(0, i32::cast_unsigned);
    if handle.is_null() {
        return Err(number);
    }
    // SAFETY: the handle is open, and nothing else owns it.
    let handle = unsafe { OwnedHandle::from_raw_handle(handle) };
    // CreateMutex opens an existing mutex too; its handle is dropped here.
    if number == ALREADY_EXISTS { Err(number) } else { Ok(handle) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_at_once_have_different_names() {
        let (first, second) = (SessionName::reserve().unwrap(), SessionName::reserve().unwrap());
        assert_ne!(first.name, second.name);
        let free = first.name.clone();
        drop(first);
        assert!(mutex(&free).is_ok(), "{free} is free again");
    }
}
