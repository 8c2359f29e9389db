//! Sinks: text for people, JSON lines for programs. They turn the engine's numbers into output and
//! judge nothing.

mod completeness;
pub mod context;
pub mod doctor;
pub mod evidence_text;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod json;
pub mod names;
pub mod numbers;
pub mod text;
pub mod writer;

use crate::engine::report::{Finding, Progress, Summary};
pub use completeness::{Completeness, LoopLag};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
pub use writer::{SinkError, Writer};

/// Shows what the engine found. Everything is written and flushed at once.
///
/// A sink runs on a thread of its own, so it may wait for its reader.
pub trait Sink: Send {
    /// Its name in errors.
    fn name(&self) -> &str;

    /// Whether it is in the middle of a write, and so may wait for its reader.
    fn writing(&self) -> Arc<AtomicBool> {
        Arc::default()
    }

    /// Tracing begins.
    ///
    /// # Errors
    /// When the output cannot be written.
    fn start(&mut self, now_ns: u64) -> Result<(), SinkError>;

    /// A finding.
    ///
    /// # Errors
    /// When the output cannot be written.
    fn finding(&mut self, finding: &Finding) -> Result<(), SinkError>;

    /// Whether it shows [`progress`](Self::progress).
    fn wants_progress(&self) -> bool {
        false
    }

    /// Progress; called several times a second, unless the sink is busy.
    fn progress(&mut self, _progress: &Progress, _now_ns: u64) {}

    /// The summary at the end, and how complete it is.
    ///
    /// # Errors
    /// When the output cannot be written.
    fn summary(&mut self, summary: &Summary, completeness: &Completeness) -> Result<(), SinkError>;

    /// The summary of a snapshot: nothing was traced.
    ///
    /// # Errors
    /// When the output cannot be written.
    fn snapshot(&mut self, summary: &Summary) -> Result<(), SinkError> {
        self.summary(summary, &Completeness::default())
    }
}
