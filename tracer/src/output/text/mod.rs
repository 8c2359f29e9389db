//! Text for a person: findings as they happen, and at the end one screen that is read in ten
//! seconds.

mod columns;
mod finding;
mod headline;
mod holders;
mod paint;
mod pools;
mod progress;
mod quality;
mod table;

pub use paint::Paint;
pub(super) use pools::{pool_line, several};
pub use progress::ProgressLine;
pub(super) use quality::limited;

use super::setting::Setting;
use super::{Output, OutputError, Sink};
use crate::engine::report::{Finding, Progress, Summary, Verdict};
use crate::event::{Capture, Degradation};
use crate::symbols::Symbols;
use jiff::tz::TimeZone;

/// Columns that every line fits into, unless a sentence needs more.
const WIDTH: usize = 100;

/// How to write text.
#[derive(Clone, Debug)]
pub struct TextOptions {
    /// Whether to colour.
    pub paint: Paint,
    /// Leave out the findings.
    pub summary_only: bool,
    /// Spell out what is inexact.
    pub verbose: bool,
    /// The buffer that was used, to advise a larger one; `None` when it was not portleak's.
    pub buffer_bytes: Option<u32>,
    /// What to do to be told of what is limited, such as `portleak doctor`.
    pub limits_by: &'static str,
    /// For times of day.
    pub zone: TimeZone,
}

/// Text.
pub struct TextOutput {
    sink: Sink,
    progress: Option<ProgressLine>,
    setting: Setting,
    degraded: Vec<Degradation>,
    options: TextOptions,
    told: bool,
    /// Whether no loss so far has made the totals wrong.
    totals_kept: bool,
}

impl TextOutput {
    /// Writes to `sink` what is seen under `capture`, and how it goes to `progress`.
    #[must_use]
    pub fn new(
        sink: Sink,
        progress: Option<ProgressLine>,
        capture: &Capture,
        symbols: Symbols,
        options: TextOptions,
    ) -> Self {
        Self {
            sink,
            progress,
            setting: Setting::new(capture, symbols, options.zone.clone()),
            degraded: capture.degraded.clone(),
            options,
            told: false,
            totals_kept: true,
        }
    }

    fn write(&mut self, text: &str) -> Result<(), OutputError> {
        if let Some(progress) = &mut self.progress {
            progress.clear();
        }
        self.sink.write(text.as_bytes())
    }
}

impl Output for TextOutput {
    fn start(&mut self, now_ns: u64) -> Result<(), OutputError> {
        if let Some(progress) = &mut self.progress {
            progress.start(now_ns);
        }
        Ok(())
    }

    fn finding(&mut self, finding: &Finding) -> Result<(), OutputError> {
        self.totals_kept &= !matches!(finding, Finding::Lost { stage, .. } if !stage.keeps_totals());
        if self.options.summary_only {
            return Ok(());
        }
        // That somebody found no port has been told when it happened.
        if matches!(finding, Finding::Verdict { verdict: Verdict::Exhausted, evidence, .. } if evidence.is_empty())
        {
            return Ok(());
        }
        self.told = true;
        let text = finding::text(finding, &self.setting, &self.options);
        self.write(&text)
    }

    fn progress(&mut self, progress: &Progress, now_ns: u64) {
        if let Some(line) = &mut self.progress {
            line.show(progress, now_ns);
        }
    }

    fn summary(&mut self, summary: &Summary) -> Result<(), OutputError> {
        let mut parts = vec![
            headline::text(summary, &self.setting, &self.options.paint),
            table::text(&summary.owners, &self.options.paint),
            pools::text(&summary.pools),
            quality::text(summary, self.totals_kept, &self.degraded, &self.options),
        ];
        parts.retain(|part| !part.is_empty());
        let gap = if self.told { "\n" } else { "" };
        self.write(&format!("{gap}{}", parts.join("\n")))
    }

    fn snapshot(&mut self, summary: &Summary) -> Result<(), OutputError> {
        // Nobody but this run can say what it could not see, so it is always told.
        let limits: String = self.degraded.iter().map(limited).collect();
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
