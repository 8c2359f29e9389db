//! Text for people: findings as they happen, then a summary of one screen.

mod columns;
mod data_quality;
mod finding;
mod holders;
mod paint;
mod pools;
mod progress;
mod summary_text;
mod table;

pub(super) use data_quality::{lag_line, limits};
pub use paint::Paint;
pub(super) use pools::{pool_line, several};
pub use progress::ProgressLine;

use super::context::Context;
use super::{Completeness, Sink, SinkError, Writer};
use crate::engine::report::{Finding, Progress, Summary, Verdict};
use crate::event::{Capture, Degradation};
use crate::symbols::Symbols;
use jiff::tz::TimeZone;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Width of all lines except sentences.
const WIDTH: usize = 100;

/// How to write text.
#[derive(Clone, Debug)]
pub struct TextOptions {
    /// Whether to colour.
    pub paint: Paint,
    /// Leave out the findings.
    pub summary_only: bool,
    /// List every limited feature.
    pub verbose: bool,
    /// The size of the event buffer, to advise a larger one; `None` when it was not portleak's.
    pub buffer_bytes: Option<u32>,
    /// The command that lists what is limited, such as `portleak doctor`.
    pub limits_by: &'static str,
    /// The time zone of times of day.
    pub zone: TimeZone,
}

/// Text.
pub struct TextSink {
    writer: Writer,
    progress: Option<ProgressLine>,
    context: Context,
    degraded: Vec<Degradation>,
    options: TextOptions,
    wrote_findings: bool,
    /// Whether totals are exact despite all losses so far.
    totals_kept: bool,
}

impl TextSink {
    /// Writes findings and summary to `writer`, and the progress to `progress`.
    #[must_use]
    pub fn new(
        writer: Writer,
        progress: Option<ProgressLine>,
        capture: &Capture,
        symbols: Symbols,
        options: TextOptions,
    ) -> Self {
        Self {
            writer,
            progress,
            context: Context::new(capture, symbols, options.zone.clone()),
            degraded: capture.degraded.clone(),
            options,
            wrote_findings: false,
            totals_kept: true,
        }
    }

    fn write(&mut self, text: &str) -> Result<(), SinkError> {
        if let Some(progress) = &mut self.progress {
            progress.clear();
        }
        self.writer.write(text.as_bytes())
    }
}

impl Sink for TextSink {
    fn name(&self) -> &str {
        self.writer.name()
    }

    fn writing(&self) -> Arc<AtomicBool> {
        self.writer.writing()
    }

    fn start(&mut self, now_ns: u64) -> Result<(), SinkError> {
        if let Some(progress) = &mut self.progress {
            progress.start(now_ns);
        }
        Ok(())
    }

    fn finding(&mut self, finding: &Finding) -> Result<(), SinkError> {
        self.totals_kept &= !matches!(finding, Finding::Lost { stage, .. } if !stage.keeps_totals());
        if self.options.summary_only {
            return Ok(());
        }
        // The failed allocation itself was a finding.
        if matches!(finding, Finding::Verdict { verdict: Verdict::Exhausted, evidence, .. } if evidence.is_empty())
        {
            return Ok(());
        }
        self.wrote_findings = true;
        let text = finding::text(finding, &self.context, &self.options);
        self.write(&text)
    }

    fn wants_progress(&self) -> bool {
        self.progress.is_some()
    }

    fn progress(&mut self, progress: &Progress, now_ns: u64) {
        if let Some(line) = &mut self.progress {
            line.show(progress, now_ns);
        }
    }

    fn summary(&mut self, summary: &Summary, completeness: &Completeness) -> Result<(), SinkError> {
        let mut parts = vec![
            summary_text::text(summary, &self.context, &self.options.paint),
            table::text(&summary.owners, &self.options.paint),
            pools::text(&summary.pools),
            data_quality::text(summary, self.totals_kept, &self.degraded, &self.options)
                + &data_quality::completeness(completeness, &self.options),
        ];
        parts.retain(|part| !part.is_empty());
        let gap = if self.wrote_findings { "\n" } else { "" };
        self.write(&format!("{gap}{}", parts.join("\n")))
    }

    fn snapshot(&mut self, summary: &Summary) -> Result<(), SinkError> {
        // `doctor` sees other limits than a snapshot without root, so the snapshot lists its own.
        let limits = limits(&self.degraded, self.options.verbose);
        let mut parts = vec![
            holders::headline(summary),
            holders::table(&summary.owners, &self.options.paint),
            pools::now(&summary.pools),
            limits,
        ];
        parts.retain(|part| !part.is_empty());
        self.write(&parts.join("\n"))
    }
}

#[cfg(test)]
mod tests;
