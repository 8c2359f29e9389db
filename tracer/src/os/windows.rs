//! Windows: a console passes its signals to all of its programs.

use super::signal::Signal;
use crate::exit;
use std::future::pending;
use std::io;
use std::process::ExitStatus;
use std::thread;
use tokio::runtime;
use tokio::signal::windows::{self, CtrlBreak, CtrlC, CtrlClose, CtrlLogoff, CtrlShutdown};

/// What to do about a file that cannot be run.
pub(super) const HOW_TO_EXECUTE: &str =
    "name the program that runs it first, such as cmd /c or powershell -File";

/// How a program ends that Ctrl-C has ended: `STATUS_CONTROL_C_EXIT` (ntstatus.h).
const CONTROL_C_EXIT: u32 = 0xc000_013a;

/// Hears the console.
///
/// When its window is closed, and when the user leaves, Windows ends the process as soon as it has been
/// told, or after some five seconds; tokio does not return from being told, so these are ours.
#[derive(Debug)]
pub(super) struct Listener {
    interrupt: CtrlC,
    break_key: CtrlBreak,
    close: CtrlClose,
    logoff: CtrlLogoff,
    shutdown: CtrlShutdown,
}

impl Listener {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: windows::ctrl_c()?,
            break_key: windows::ctrl_break()?,
            close: windows::ctrl_close()?,
            logoff: windows::ctrl_logoff()?,
            shutdown: windows::ctrl_shutdown()?,
        })
    }

    /// From now on Ctrl-C does what it does to everyone: it ends the process. The console cannot be
    /// told so any more, hence a thread listens that has nothing else to do.
    pub(super) fn release(&self) {
        thread::spawn(|| {
            let Ok(runtime) = runtime::Builder::new_current_thread().build() else {
                return;
            };
            runtime.block_on(interrupted());
            // Whoever asks twice wants no summary.
            std::process::exit(CONTROL_C_EXIT.cast_signed());
        });
    }

    /// A console has the command ended as well.
    pub(super) fn set_child(&self, _pid: Option<u32>) {}

    pub(super) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.break_key.recv() => Signal::Terminate,
            _ = self.close.recv() => Signal::Terminate,
            _ = self.logoff.recv() => Signal::Terminate,
            _ = self.shutdown.recv() => Signal::Terminate,
        }
    }
}

/// Completes at the next Ctrl-C or Ctrl-Break.
async fn interrupted() {
    let (Ok(mut interrupt), Ok(mut break_key)) = (windows::ctrl_c(), windows::ctrl_break()) else {
        return pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = break_key.recv() => {}
    }
}

/// A console sends Ctrl-C to everyone.
pub(super) fn has_terminal() -> bool {
    true
}

/// There is one way to end a process here. A failure means that it has ended.
pub(super) fn send(child: &mut tokio::process::Child, _signal: Signal) {
    let _ = child.start_kill();
}

/// The command's own status; what does not fit into a byte is told as a failure of ours.
#[must_use]
pub fn exit_code(status: ExitStatus) -> u8 {
    status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(exit::RUN_FAILURE)
}

/// The size of a memory page.
#[must_use]
pub fn page_bytes() -> u32 {
    4096
}
