//! Processes that live one after another and take one port each; and a pid namespace around a program.

use anyhow::{Context, Result, ensure};
use std::ffi::OsString;
use std::io;
use std::net::UdpSocket;
use std::process::{Command, Stdio};

/// Starts so many processes, one after another.
pub(super) fn run(count: u32) -> Result<()> {
    let program = std::env::current_exe()?;
    for _ in 0..count {
        let status = Command::new(&program).arg("one-port").stdin(Stdio::null()).status()?;
        ensure!(status.success(), "a child ended with {status}");
    }
    Ok(())
}

/// What each of them does.
pub(super) fn one_port() -> Result<()> {
    UdpSocket::bind("127.0.0.1:0").context("taking a port")?;
    Ok(())
}

/// Runs a program as the first process of a new pid namespace.
pub(super) fn in_pid_namespace(command: &[OsString]) -> Result<()> {
    let (program, arguments) = command.split_first().context("a program to run")?;
    // SAFETY: unshare takes flags and touches no memory.
    if unsafe { libc::unshare(libc::CLONE_NEWPID) } != 0 {
        return Err(io::Error::last_os_error()).context("a new pid namespace (needs root)");
    }
    let status = Command::new(program).args(arguments).status().context("starting it")?;
    ensure!(status.success(), "it ended with {status}");
    Ok(())
}
