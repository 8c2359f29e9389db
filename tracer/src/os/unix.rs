//! Unix.

use super::signal::Signal;
use crate::exit;
use rustix::process::{Pid, kill_process};
use signal_hook::consts::{SIGALRM, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::{io, thread};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// What to do about a file that cannot be run.
pub(super) const HOW_TO_EXECUTE: &str = "make it executable (chmod +x), or name its interpreter first";

/// All that would end the process, and leave the command behind.
const ENDING: [i32; 7] = [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGALRM, SIGUSR1, SIGUSR2];
/// With so many signals somebody insists, whatever the loop does meanwhile.
const INSISTING: u32 = 3;

/// Receives signals on a thread of its own, which also acts when nobody takes them.
#[derive(Debug)]
pub(super) struct Listener {
    signals: UnboundedReceiver<Signal>,
    last_resort: Arc<LastResort>,
}

/// What a signal does when it is not the loop's to answer.
#[derive(Debug, Default)]
struct LastResort {
    released: AtomicBool,
    /// The command's pid; 0 when there is none.
    child: AtomicI32,
}

impl Listener {
    pub(super) fn new() -> io::Result<Self> {
        // nohup(1) ignores SIGHUP, and that is meant for us.
        let hears = |signal: &&i32| **signal != SIGHUP || !ignores(SIGHUP);
        let mut incoming = Signals::new(ENDING.iter().filter(hears))?;
        let (heard, signals) = unbounded_channel();
        let last_resort = Arc::new(LastResort::default());
        let resort = Arc::clone(&last_resort);
        let listen = move || {
            for (number, count) in incoming.forever().zip(1..) {
                if count >= INSISTING || resort.released.load(Ordering::SeqCst) {
                    resort.end(number);
                }
                let signal = if number == SIGINT { Signal::Interrupt } else { Signal::Terminate };
                let _ = heard.send(signal);
            }
        };
        thread::Builder::new().name("signals".to_owned()).spawn(listen)?;
        Ok(Self { signals, last_resort })
    }

    /// From now on signals do what they do to everyone: end the process.
    pub(super) fn release(&self) {
        self.last_resort.released.store(true, Ordering::SeqCst);
    }

    /// Has the command ended with us, if we are ended.
    pub(super) fn set_child(&self, pid: Option<u32>) {
        let pid = pid.and_then(|pid| i32::try_from(pid).ok());
        self.last_resort.child.store(pid.unwrap_or_default(), Ordering::SeqCst);
    }

    pub(super) async fn next(&mut self) -> Signal {
        match self.signals.recv().await {
            Some(signal) => signal,
            // The thread listens forever.
            None => std::future::pending().await,
        }
    }
}

impl LastResort {
    fn end(&self, number: i32) {
        if let Some(child) = Pid::from_raw(self.child.load(Ordering::SeqCst)) {
            let _ = kill_process(child, rustix::process::Signal::KILL);
        }
        let _ = emulate_default_handler(number);
    }
}

/// Whether the process was started with `signal` ignored; no where the system does not say.
fn ignores(signal: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
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
