//! A handle that is closed when it is done with.

use windows_sys::Win32::Foundation::{CloseHandle, HANDLE, INVALID_HANDLE_VALUE};

/// An open handle.
#[derive(Debug)]
pub(super) struct Handle(HANDLE);

impl Handle {
    /// Takes over a handle that a call gave; `None` when it gave none.
    ///
    /// # Safety
    /// It is one that `CloseHandle` closes, and nobody else's.
    pub(super) unsafe fn of(handle: HANDLE) -> Option<Self> {
        (!handle.is_null() && handle != INVALID_HANDLE_VALUE).then_some(Self(handle))
    }

    pub(super) fn get(&self) -> HANDLE {
        self.0
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: it is open, and ours.
        unsafe { CloseHandle(self.0) };
    }
}
