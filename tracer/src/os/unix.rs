//! Unix.

use super::signal::Signal;
use crate::exit;
use rustix::process::{Pid, kill_process};
use signal_hook::flag::register_conditional_default;
use std::fs::File;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::signal::unix::{self, SignalKind, signal};

/// What to do about a file that cannot be run.
pub(super) const HOW_TO_EXECUTE: &str = "make it executable (chmod +x), or name its interpreter first";

/// Hears SIGINT and SIGTERM.
#[derive(Debug)]
pub(super) struct Listener {
    interrupt: unix::Signal,
    terminate: unix::Signal,
    released: Arc<AtomicBool>,
}

impl Listener {
    pub(super) fn new() -> io::Result<Self> {
        let released = Arc::new(AtomicBool::new(false));
        for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
            register_conditional_default(kind.as_raw_value(), Arc::clone(&released))?;
        }
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            released,
        })
    }

    /// From now on signals do what they do to everyone: end the process.
    pub(super) fn release(&self) {
        self.released.store(true, Ordering::SeqCst);
    }

    pub(super) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.terminate.recv() => Signal::Terminate,
        }
    }
}

/// Whether we have a controlling terminal.
pub(super) fn has_terminal() -> bool {
    File::open("/dev/tty").is_ok()
}

/// Sends to a child that has not been reaped, so that its pid is still its own.
pub(super) fn send(child: &mut tokio::process::Child, signal: Signal) {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
    let signal = match signal {
        Signal::Interrupt => rustix::process::Signal::INT,
        Signal::Terminate => rustix::process::Signal::TERM,
    };
    if let Some(pid) = pid.and_then(Pid::from_raw) {
        // It fails only if the child has ended, which is the aim.
        let _ = kill_process(pid, signal);
    }
}

/// The command's own status, or 128 + N when signal N ended it, as shells have it.
#[must_use]
pub fn exit_code(status: ExitStatus) -> u8 {
    let by_signal = status.signal().map(|signal| 128 + signal);
    status.code().or(by_signal).and_then(|code| u8::try_from(code).ok()).unwrap_or(exit::RUN_FAILURE)
}

/// The size of a memory page.
#[must_use]
pub fn page_bytes() -> u32 {
    u32::try_from(rustix::param::page_size()).unwrap_or(4096)
}
