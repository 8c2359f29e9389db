//! The one loop: the source's events go into the engine, its findings to the output, until
//! something says that it is enough.
//!
//! Surprising: the loop waits a little after each turn even when the source has more. A storm of
//! events is then read in batches, and the wake-ups cost the same for ten events as for ten
//! thousand.

mod desk;
pub mod replay;
pub mod session;

use crate::engine::report::Summary;
use crate::recording::RecordError;
use crate::sink::SinkError;
use crate::source::{Source, SourceError};
pub use desk::Desk;
use std::pin::pin;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval, sleep};

/// How often the engine judges and the progress is shown when nothing happens.
const TICK: Duration = Duration::from_millis(250);
/// The shortest time between two reads of the source.
const BATCH: Duration = Duration::from_millis(10);

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

/// Traces until `until` completes, then writes the summary; returns it with what `until` said.
///
/// A source that breaks, or a recording that cannot be written on, still gets its summary written:
/// what was seen so far is worth having.
///
/// # Errors
/// When the source broke, or the output or the recording cannot be written.
pub async fn trace<S: Source, T>(
    source: &mut S,
    mut desk: Desk<'_>,
    until: impl Future<Output = T>,
) -> Result<(Summary, T), TraceError> {
    let ended = follow(source, &mut desk, until).await;
    if let Err(TraceError::Sink(error)) = ended {
        return Err(error.into());
    }
    let mut events = Vec::new();
    let stopped = source.stop(&mut events);
    let summary = desk.finish(&mut events, source.now_ns())?;
    stopped?;
    Ok((summary, ended?))
}

async fn follow<S: Source, T>(
    source: &mut S,
    desk: &mut Desk<'_>,
    until: impl Future<Output = T>,
) -> Result<T, TraceError> {
    desk.start()?;
    let mut events = Vec::new();
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut until = pin!(until);
    loop {
        let ticked = tokio::select! {
            biased;
            why = &mut until => return Ok(why),
            _ = tick.tick() => true,
            () = batch(source) => false,
        };
        source.drain(&mut events)?;
        let now_ns = source.now_ns();
        desk.take(&mut events, now_ns)?;
        desk.ask(source);
        if ticked {
            desk.progress(now_ns);
        }
    }
}

/// Completes when the source has something, but not at once again.
async fn batch<S: Source>(source: &mut S) {
    sleep(BATCH).await;
    source.ready().await;
}

#[cfg(test)]
mod tests;
