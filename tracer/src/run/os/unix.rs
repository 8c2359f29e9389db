//! Unix.

use crate::exit;
use crate::run::signals::Signal;
use std::fs::File;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use tokio::signal::unix::{self, SignalKind, signal};

/// Hears SIGINT and SIGTERM.
#[derive(Debug)]
pub(in crate::run) struct Listener {
    interrupt: unix::Signal,
    terminate: unix::Signal,
}

impl Listener {
    pub(in crate::run) fn new() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    pub(in crate::run) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.terminate.recv() => Signal::Terminate,
        }
    }
}

pub(in crate::run) fn restore_default_signals() {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: signal(2) with SIG_DFL installs no handler and touches no memory of ours.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Whether we have a controlling terminal.
pub(in crate::run) fn has_terminal() -> bool {
    File::open("/dev/tty").is_ok()
}

/// Sends to a child that has not been reaped, so that its pid is still its own.
pub(in crate::run) fn send(child: &mut tokio::process::Child, signal: Signal) {
    let pid = child.id().and_then(|pid| libc::pid_t::try_from(pid).ok());
    let Some(pid) = pid else { return };
    let signal = match signal {
        Signal::Interrupt => libc::SIGINT,
        Signal::Terminate => libc::SIGTERM,
    };
    // SAFETY: kill(2) touches no memory. It fails only if the child has ended, which is the aim.
    unsafe { libc::kill(pid, signal) };
}

/// The command's own status, or 128 + N when signal N ended it, as shells have it.
#[must_use]
pub fn exit_code(status: ExitStatus) -> u8 {
    let by_signal = status.signal().map(|signal| 128 + signal);
    status.code().or(by_signal).and_then(|code| u8::try_from(code).ok()).unwrap_or(exit::RUN_FAILURE)
}

/// Whether there is such a process now.
#[must_use]
pub fn process_exists(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

/// The size of a memory page.
#[must_use]
pub fn page_bytes() -> u32 {
    // SAFETY: sysconf(3) touches no memory of ours.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u32::try_from(bytes).unwrap_or(4096)
}
