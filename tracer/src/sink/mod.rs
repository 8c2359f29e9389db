//! What users read: text for a person, JSON lines for a program. The engine's numbers come in,
//! sentences go out; nothing is judged here.

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
pub use writer::{SinkError, Writer};

/// A way to tell what the engine found. Everything is written and flushed at once.
///
/// It runs on a thread of its own, so it may wait for its reader.
pub trait Sink: Send {
    /// What errors call it.
    fn name(&self) -> &str;

    /// Tracing begins.
    ///
    /// # Errors
    /// When the output cannot be written.
    fn start(&mut self, now_ns: u64) -> Result<(), SinkError>;

    /// Something worth saying at once.
    ///
    /// # Errors
    /// When the output cannot be written.
    fn finding(&mut self, finding: &Finding) -> Result<(), SinkError>;

    /// Whether it shows [`progress`](Self::progress).
    fn wants_progress(&self) -> bool {
        false
    }

    /// How it goes; called several times a second, unless it is busy.
    fn progress(&mut self, _progress: &Progress, _now_ns: u64) {}

    /// The end, and how complete it is.
    ///
    /// # Errors
    /// When the output cannot be written.
    fn summary(&mut self, summary: &Summary, completeness: &Completeness) -> Result<(), SinkError>;

    /// Who holds what, when that is all that is known: nothing was traced.
    ///
    /// # Errors
    /// When the output cannot be written.
    fn snapshot(&mut self, summary: &Summary) -> Result<(), SinkError> {
        self.summary(summary, &Completeness::default())
    }
}
