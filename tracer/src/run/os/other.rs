//! Systems without Unix signals.

use crate::exit;
use crate::run::signals::Signal;
use std::io;
use std::process::ExitStatus;

/// Hears Ctrl-C.
#[derive(Debug)]
pub(in crate::run) struct Listener;

impl Listener {
    pub(in crate::run) fn new() -> io::Result<Self> {
        Ok(Self)
    }

    pub(in crate::run) async fn next(&mut self) -> Signal {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
        Signal::Interrupt
    }

    /// The console's handler cannot be taken back.
    pub(in crate::run) fn release(&self) {}
}

/// A console sends Ctrl-C to everyone.
pub(in crate::run) fn has_terminal() -> bool {
    true
}

/// There is one way to end a process here. A failure means that it has ended.
pub(in crate::run) fn send(child: &mut tokio::process::Child, _signal: Signal) {
    let _ = child.start_kill();
}

/// The command's own status.
#[must_use]
pub fn exit_code(status: ExitStatus) -> u8 {
    status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(exit::RUN_FAILURE)
}

/// Not checked here.
#[must_use]
pub fn process_exists(_pid: u32) -> bool {
    true
}

/// The size of a memory page.
#[must_use]
pub fn page_bytes() -> u32 {
    4096
}
