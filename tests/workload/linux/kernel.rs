//! What makes the kernel take ports for itself.

use super::raw::{Socket, checked};
use anyhow::{Context, Result};
use std::ffi::CStr;

/// A datagram of RDS, for which the kernel connects.
pub(super) fn rds(from: &str, to: &str) -> Result<()> {
    const AF_RDS: i32 = 21;
    let socket = Socket::open(AF_RDS, libc::SOCK_SEQPACKET, 0).context("RDS")?;
    socket.set_nonblocking()?;
    socket.bind(from)?;
    Ok(socket.send_to(to)?)
}

/// A file system of another machine.
pub(super) fn mount(kind: &CStr, source: &CStr, target: &CStr, options: &CStr) -> Result<()> {
    // SAFETY: all four end with a NUL, as these file systems want their options.
    let mounted =
        unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), 0, options.as_ptr().cast()) };
    checked(mounted).map(drop).context("mounting")
}
