//! Where events come from. `cfg(target_os)` is written here and nowhere else.

use crate::event::{Answer, Capture, Event, HoldId, Incomplete};
use std::future::Future;
use std::path::Path;
use std::time::Duration;

pub mod file;
#[cfg(not(target_os = "linux"))]
pub mod filter_targets;
#[cfg(target_os = "linux")]
pub mod linux;
#[cfg(not(any(target_os = "linux", target_os = "windows")))]
mod unsupported;
pub mod windows;
pub mod worker;

#[cfg(target_os = "linux")]
use linux::one_shot::take as take_one_shot;
#[cfg(not(any(target_os = "linux", target_os = "windows")))]
use unsupported::one_shot as take_one_shot;
#[cfg(target_os = "windows")]
use windows::win32::take_one_shot;

#[cfg(target_os = "linux")]
pub use linux::advice::advice;
#[cfg(target_os = "linux")]
pub use linux::filter_targets;
#[cfg(target_os = "linux")]
pub use linux::procfs::processes::process_exists;
#[cfg(not(any(target_os = "linux", target_os = "windows")))]
pub use unsupported::{advice, process_exists};
#[cfg(target_os = "windows")]
pub use windows::win32::{advice, process_exists};

/// The source that traces this machine.
#[cfg(target_os = "linux")]
pub type LiveSource = linux::live::Live;
/// The source that traces this machine.
#[cfg(target_os = "windows")]
pub type LiveSource = windows::live::Live;
/// The source that traces this machine.
#[cfg(not(any(target_os = "linux", target_os = "windows")))]
pub type LiveSource = unsupported::Unsupported;

pub use crate::recording::Turn;

/// Begins to trace this machine. Call it inside a tokio runtime.
///
/// # Errors
/// When this machine, or this user, cannot trace.
pub fn open(options: &CaptureOptions) -> Result<LiveSource, SourceError> {
    LiveSource::open(options)
}

/// Looks at who holds what on this machine now, without tracing it.
///
/// # Errors
/// When nothing can be seen.
pub fn one_shot() -> Result<OneShot, SourceError> {
    take_one_shot()
}

/// Takes ports every way there is and says what this system's tracing tells of them.
///
/// # Errors
/// Where there is no such test.
#[cfg(windows)]
pub fn self_test(save: Option<&Path>, patience: Duration) -> Result<Vec<Answer>, SourceError> {
    windows::selftest::scenario::run(save, patience)
}
/// Takes ports every way there is and says what this system's tracing tells of them.
///
/// # Errors
/// Where there is no such test.
#[cfg(not(windows))]
pub fn self_test(_save: Option<&Path>, _patience: Duration) -> Result<Vec<Answer>, SourceError> {
    Err(SourceError {
        what: "--self-test exists on Windows only".to_owned(),
        remedy: "portleak doctor: on Linux every start tests its probes".to_owned(),
    })
}

/// What was held at one instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OneShot {
    /// What could be seen.
    pub capture: Capture,
    /// Who held what, as pre-existing holds.
    pub events: Vec<Event>,
    /// When, in nanoseconds on the source's clock.
    pub at_ns: u64,
}

/// What to capture and how.
#[derive(Clone, Copy, Debug)]
pub struct CaptureOptions {
    /// Size of the kernel's event buffer in bytes.
    pub buffer_bytes: u32,
    /// Of whose acquisitions the call site is taken.
    pub stacks: Stacks,
}

/// Of whose acquisitions the call site is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stacks {
    /// Of nobody's.
    None,
    /// Of the kernel's own, which tells its modules apart.
    #[default]
    Kernel,
    /// Of everybody's.
    All,
}

/// A failure to open or read a source: a sentence and a remedy.
#[derive(Debug, thiserror::Error)]
#[error("{what}\n  remedy: {remedy}")]
pub struct SourceError {
    /// What went wrong, one sentence.
    pub what: String,
    /// What to do about it, one sentence.
    pub remedy: String,
}

/// A stream of events with a clock.
///
/// A live source is opened, and then read, on a thread of its own.
pub trait Source {
    /// What this source sees.
    fn capture(&self) -> &Capture;

    /// Now, on the source's clock, in nanoseconds.
    fn now_ns(&self) -> u64;

    /// From when on everything is told. To be asked before the first [`drain`](Self::drain); a source
    /// that begins with being asked leaves this as it is.
    fn began_ns(&self) -> u64 {
        self.now_ns()
    }

    /// Marks the processes that the calling thread starts from now on, and all that descend from them,
    /// or ends that. A source that can emits [`EventKind::Descendant`](crate::event::EventKind::Descendant)
    /// for each and returns true. One that cannot leaves this as it is; forks and pids decide then.
    fn mark_children(&mut self, _on: bool) -> bool {
        false
    }

    /// Completes when there is something to [`drain`](Self::drain).
    fn ready(&mut self) -> impl Future<Output = ()>;

    /// Appends everything that has happened up to now to `events`.
    ///
    /// # Errors
    /// When the source broke and nothing more can come of it.
    fn drain(&mut self, events: &mut Vec<Event>) -> Result<(), SourceError>;

    /// Drains, and says how far time has come.
    ///
    /// # Errors
    /// When the source broke.
    fn turn(&mut self, events: &mut Vec<Event>) -> Result<Turn, SourceError> {
        self.drain(events)?;
        Ok(Turn::Until(self.now_ns()))
    }

    /// Events that it has emitted were lost on their way: one of the next drains lists anew what is
    /// held, and all totals. A source that cannot, leaves this as it is.
    fn resync(&mut self) {}

    /// Is asked for how long these holds have been idle. It answers with
    /// [`EventKind::Idle`](crate::event::EventKind::Idle) in one of the next drains, for those of
    /// which it knows; a source that never knows leaves this as it is.
    fn ask(&mut self, _holds: &[HoldId]) {}

    /// What the source could not find out so far, because whoever was asked did not answer in time.
    fn incomplete(&self) -> Vec<Incomplete> {
        Vec::new()
    }

    /// Stops capturing and appends what is left, the kernel's totals last.
    ///
    /// # Errors
    /// When the source broke.
    fn stop(&mut self, events: &mut Vec<Event>) -> Result<(), SourceError>;
}
