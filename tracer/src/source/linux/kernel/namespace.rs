//! Looking at the machine from inside another namespace.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

/// Inode numbers of the namespaces that the machine itself started with
/// (include/linux/proc_ns.h; part of the interface since 6.18, never changed before).
pub mod initial {
    /// `PROC_CGROUP_INIT_INO`.
    pub const CGROUP: &str = "cgroup:[4026531835]";
    /// `PROC_PID_INIT_INO`.
    pub const PID: &str = "pid:[4026531836]";
    /// `PROC_USER_INIT_INO`.
    pub const USER: &str = "user:[4026531837]";
}

/// Runs `work` inside a namespace, on a thread of its own that ends afterwards, so that the
/// program itself never leaves the namespaces it was started in. A panic in `work` is passed on.
///
/// `handle` is the opened `/proc/PID/ns/…` of any kind that a single thread may enter
/// (network, cgroup).
///
/// # Errors
/// When no thread can be started, or the kernel does not let it in (needs `CAP_SYS_ADMIN`).
pub fn within<T: Send>(handle: &File, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    let inside = || {
        // Affects the calling thread only.
        rustix::thread::move_into_link_name_space(handle.as_fd(), None)?;
        Ok(work())
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, inside)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
