#![doc = include_str!("../../../docs/json.md")]

mod capture;
mod finding;
mod owner;
mod pool;
mod summary;

pub use capture::{CaptureJson, DegradationJson, HookJson, LoopLagJson};
pub use pool::PoolJson;

use super::context::Context;
use super::{Completeness, Sink, SinkError, Writer};
use crate::engine::report::{Finding, Summary};
use crate::event::Capture;
use crate::symbols::Symbols;
use jiff::tz::TimeZone;
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// The version of the shape.
pub const SCHEMA: u32 = 1;

/// What every object has.
#[derive(Debug, Serialize)]
pub struct Line<T> {
    /// The version of the shape.
    pub schema: u32,
    /// Which object it is.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// When, RFC 3339, UTC.
    pub at: String,
    /// The rest.
    #[serde(flatten)]
    pub body: T,
}

/// Writes one object and the end of its line.
///
/// # Errors
/// When the output cannot be written.
pub fn write_line(
    writer: &mut Writer,
    kind: &'static str,
    at: String,
    body: impl Serialize,
) -> Result<(), SinkError> {
    let line = Line { schema: SCHEMA, kind, at, body };
    let mut text = serde_json::to_vec(&line).map_err(|error| writer.broken(error.into()))?;
    text.push(b'\n');
    writer.write(&text)
}

/// JSON lines.
pub struct JsonSink {
    writer: Writer,
    capture: Capture,
    context: Context,
    summary_only: bool,
}

impl JsonSink {
    /// Writes to `writer` what is seen under `capture`.
    #[must_use]
    pub fn new(writer: Writer, capture: &Capture, symbols: Symbols, summary_only: bool) -> Self {
        let context = Context::new(capture, symbols, TimeZone::UTC);
        Self { writer, capture: capture.clone(), context, summary_only }
    }

    fn line(&mut self, kind: &'static str, at_ns: u64, body: impl Serialize) -> Result<(), SinkError> {
        write_line(&mut self.writer, kind, self.context.rfc3339(at_ns), body)
    }
}

impl Sink for JsonSink {
    fn name(&self) -> &str {
        self.writer.name()
    }

    fn writing(&self) -> Arc<AtomicBool> {
        self.writer.writing()
    }

    fn start(&mut self, now_ns: u64) -> Result<(), SinkError> {
        if self.summary_only {
            return Ok(());
        }
        let at = self.context.rfc3339(now_ns);
        let body = capture::StartJson::of(&self.capture);
        write_line(&mut self.writer, "start", at, body)
    }

    fn finding(&mut self, finding: &Finding) -> Result<(), SinkError> {
        if self.summary_only {
            return Ok(());
        }
        let (kind, at_ns) = finding::head(finding);
        let body = finding::FindingJson::of(finding, &self.context);
        self.line(kind, at_ns, body)
    }

    fn summary(&mut self, summary: &Summary, completeness: &Completeness) -> Result<(), SinkError> {
        let at = self.context.rfc3339(summary.at_ns);
        let body = summary::SummaryJson::of(summary, completeness, &self.capture, &self.context);
        write_line(&mut self.writer, "summary", at, body)
    }
}

/// Seconds to the microsecond.
fn seconds(s: f64) -> f64 {
    round(s, 1e6)
}

/// To as many decimals as `scale` has zeros; never -0.
fn round(value: f64, scale: f64) -> f64 {
    (value * scale).round() / scale + 0.0
}

#[cfg(test)]
mod tests;
