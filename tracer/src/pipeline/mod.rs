//! From a source to the sinks, live and from a file.
//!
//! ```text
//! capture (thread) ──▶ queue ──┐                   ┌─▶ recorder (thread)
//!                              ├─▶ loop: hub ──────┤
//! file ────────────────────────┘  engine           └─▶ sinks (a thread each)
//! ```
//!
//! The loop never waits for anything but the next batch: not for a disk, not for a reader of its
//! output, not for a file of a traced process. What a queue has no room for is dropped and counted.

pub mod capture;
mod fan_out;
mod hub;
pub mod intake;
mod lag;
mod recorder;
pub mod session;

use crate::engine::report::Summary;
use crate::recording::RecordError;
use crate::sink::{Completeness, SinkError};
use crate::source::SourceError;
pub use hub::{Hub, Setup};
use intake::{Delivery, End, Intake};
use std::pin::pin;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// How long the capture may take to end.
const CAPTURE_END_MAX: Duration = Duration::from_secs(3);

/// Tracing failed.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The source broke.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The output cannot be written.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// The recording cannot be written.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// Whether somebody may have to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// A machine does not wait for us: a sink that is slow misses something.
    Live,
    /// A file does.
    File,
}

/// How long the end may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Somebody waits for it.
    Short,
    /// The trace ended of itself.
    Long,
}

impl Patience {
    /// For the names of call sites.
    fn names(self) -> Duration {
        match self {
            Self::Short => Duration::from_millis(500),
            Self::Long => Duration::from_secs(2),
        }
    }

    /// For the recording, the names included.
    fn recording(self) -> Duration {
        self.names() + Duration::from_millis(250)
    }

    /// For the sinks, all of the above included. `None` is without end.
    fn sinks(self) -> Option<Duration> {
        match self {
            Self::Short => Some(Duration::from_millis(900)),
            Self::Long => Some(Duration::from_secs(5)),
        }
    }
}

/// What a trace came to.
#[derive(Debug)]
pub struct Outcome {
    /// Everything at its end.
    pub summary: Summary,
    /// What is missing in it.
    pub completeness: Completeness,
}

/// Traces until `until` completes or the intake ends, then writes the summary.
///
/// A source that breaks, or a recording or a sink that cannot be written on, ends the trace; the
/// summary is still written wherever it can be: what was seen so far is worth having.
///
/// # Errors
/// When the source broke, or a sink or the recording cannot be written.
pub async fn trace(
    intake: &mut impl Intake,
    mut hub: Hub,
    until: impl Future<Output = Patience>,
) -> Result<Outcome, TraceError> {
    let (failed, patience, end) = match follow(intake, &mut hub, until).await {
        Stop::Asked(patience) => (Ok(()), patience, None),
        Stop::Failed(failure) => (Err(failure), Patience::Short, None),
        Stop::Ended(end) => (Ok(()), Patience::Long, Some(end)),
    };
    let end = match end {
        Some(end) => end,
        None => rest(intake, &mut hub).await,
    };
    let End { events, now_ns, incomplete, ended } = end;
    let written = hub.end(events, now_ns, incomplete, patience);
    failed?;
    let outcome = written?;
    ended?;
    Ok(outcome)
}

enum Stop {
    Asked(Patience),
    Failed(TraceError),
    Ended(End),
}

async fn follow(intake: &mut impl Intake, hub: &mut Hub, until: impl Future<Output = Patience>) -> Stop {
    let mut until = pin!(until);
    loop {
        let delivery = tokio::select! {
            biased;
            patience = &mut until => return Stop::Asked(patience),
            failure = hub.failure() => return Stop::Failed(failure),
            delivery = intake.next() => delivery,
        };
        match delivery {
            Delivery::Batch(batch) => hub.consume(batch, intake),
            Delivery::End(end) => return Stop::Ended(end),
        }
    }
}

/// Stops the intake and takes what it still delivers.
async fn rest(intake: &mut impl Intake, hub: &mut Hub) -> End {
    intake.stop();
    let deadline = Instant::now() + CAPTURE_END_MAX;
    loop {
        match timeout_at(deadline, intake.next()).await {
            Ok(Delivery::Batch(batch)) => hub.consume(batch, intake),
            Ok(Delivery::End(end)) => return end,
            Err(_) => {
                hub.abandon_capture();
                return End { now_ns: hub.now_ns(), ..End::default() };
            }
        }
    }
}

#[cfg(test)]
mod tests;
