//! Memory that is used once: parsing the kernel's type information takes tens of megabytes, which
//! the allocator would keep for as long as we run.

/// Gives what the allocator has no use for back to the system.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: glibc's function may be called at any time from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}
