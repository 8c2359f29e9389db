//! A handle that is closed when dropped.

use windows_sys::Win32::Foundation::{CloseHandle, HANDLE, INVALID_HANDLE_VALUE};

/// An open handle.
#[derive(Debug)]
pub(super) struct Handle(HANDLE);

impl Handle {
    /// Owns a handle that a call returned; `None` when it returned none.
    ///
    /// # Safety
    /// `CloseHandle` closes it, and nothing else owns it.
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
