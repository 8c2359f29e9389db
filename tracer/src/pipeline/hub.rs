//! Where all batches pass: through the engine, into the recording, and what follows to the sinks.
//!
//! Nothing here waits, except at the end.

use super::fan_out::FanOut;
use super::intake::{Batch, Intake};
use super::lag::Lag;
use super::recorder::{Kept, Recorder};
use super::{Outcome, Pace, Patience, TraceError, capture};
use crate::engine::report::{Evidence, Finding};
use crate::engine::{Config, Engine};
use crate::event::{Event, Incomplete, LossStage};
use crate::recording::{Header, Recording};
use crate::sink::{Completeness, Sink};
use crate::symbols::Symbols;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// How often the progress is shown.
const PROGRESS_NS: u64 = 250_000_000;

/// What a trace consists of besides its source.
pub struct Setup {
    /// How to judge.
    pub config: Config,
    /// From when on, in nanoseconds on the source's clock.
    pub began_ns: u64,
    /// Who shows what was found.
    pub sinks: Vec<Box<dyn Sink>>,
    /// What keeps the events, and what it begins with.
    pub recording: Option<(Recording, Header)>,
    /// Where the sinks and the recording have the names of call sites from.
    pub symbols: Symbols,
    /// Whether anybody waits.
    pub pace: Pace,
}

/// See the module.
pub struct Hub {
    engine: Engine,
    began_ns: u64,
    now_ns: u64,
    recorder: Option<Recorder>,
    sinks: FanOut,
    symbols: Symbols,
    pace: Pace,
    lag: Lag,
    progress_ns: u64,
    /// Losses that made totals wrong.
    lost: BTreeMap<LossStage, u64>,
    /// Whether the capture did not end when it was asked to.
    capture_stalled: bool,
    failures: UnboundedReceiver<TraceError>,
    /// Keeps `failures` open when no thread has it.
    _failed: UnboundedSender<TraceError>,
}

impl Hub {
    /// Starts the threads of the sinks and of the recording.
    ///
    /// # Errors
    /// When the system has no thread for them.
    pub fn start(setup: Setup) -> Result<Self, TraceError> {
        let Setup { config, began_ns, sinks, recording, symbols, pace } = setup;
        let (failed, failures) = unbounded_channel();
        let header = |header| Header { config: config.clone(), began_ns, ..header };
        let recorder =
            recording.map(|(file, started)| Recorder::start(file, header(started), failed.clone()));
        let recorder = recorder.transpose().map_err(|error| capture::no_thread(&error))?;
        let sinks = FanOut::start(sinks, pace, &failed).map_err(|error| capture::no_thread(&error))?;
        let mut hub = Self {
            engine: Engine::new(config, began_ns),
            began_ns,
            now_ns: began_ns,
            recorder,
            sinks,
            symbols,
            pace,
            lag: Lag::new(),
            progress_ns: began_ns,
            lost: BTreeMap::new(),
            capture_stalled: false,
            failures,
            _failed: failed,
        };
        hub.sinks.begin(hub.began_ns);
        Ok(hub)
    }

    /// The first failure of a sink or of the recording; completes when there is one.
    pub(super) async fn failure(&mut self) -> TraceError {
        match self.failures.recv().await {
            Some(failure) => failure,
            // Its other end is ours.
            None => std::future::pending().await,
        }
    }

    /// Applies a batch, and emits what follows.
    pub(super) fn consume(&mut self, batch: Batch, intake: &mut impl Intake) {
        self.apply(&batch.events, batch.until_ns);
        if self.keep(batch.events, batch.until_ns, intake) == Kept::Again {
            intake.resync();
        }
        let queries = self.engine.take_idle_queries();
        if !queries.is_empty() {
            intake.query_idle(queries);
        }
        if self.pace == Pace::Live {
            self.progress();
            self.lag.record(batch.due.elapsed());
        }
    }

    fn apply(&mut self, events: &[Event], until_ns: Option<u64>) {
        for event in events {
            self.engine.apply(event);
        }
        if let Some(now_ns) = until_ns {
            self.now_ns = now_ns;
            self.engine.advance(now_ns);
        }
        for finding in self.engine.take_findings() {
            self.emit(finding);
        }
    }

    fn emit(&mut self, finding: Finding) {
        match &finding {
            Finding::Lost { count, stage, .. } if !stage.keeps_totals() => {
                *self.lost.entry(*stage).or_default() += count;
            }
            Finding::Verdict { evidence, .. } => self.request_names(evidence),
            _ => {}
        }
        self.sinks.finding(&Arc::new(finding), self.now_ns);
    }

    /// A call site becomes evidence.
    fn request_names(&self, evidence: &[Evidence]) {
        for site in evidence.iter().filter_map(|evidence| evidence.site.as_ref()) {
            self.symbols.request(&site.frames);
        }
    }

    fn keep(&mut self, events: Vec<Event>, until_ns: Option<u64>, intake: &mut impl Intake) -> Kept {
        match &mut self.recorder {
            Some(recorder) => recorder.keep(events, until_ns),
            None => {
                intake.recycle(events);
                Kept::Yes
            }
        }
    }

    fn progress(&mut self) {
        if self.sinks.wants_progress() && self.now_ns >= self.progress_ns + PROGRESS_NS {
            self.progress_ns = self.now_ns;
            self.sinks.progress(self.engine.progress(), self.now_ns);
        }
    }

    /// The capture has not ended although it was asked to: what it had left is missing.
    pub(super) fn abandon_capture(&mut self) {
        self.capture_stalled = true;
    }

    /// When the last batch ended, in nanoseconds on the source's clock.
    pub(super) fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// Takes the last events, writes the summary and ends the recording.
    ///
    /// # Errors
    /// The first failure of a sink or of the recording.
    pub(super) fn end(
        mut self,
        events: Vec<Event>,
        now_ns: u64,
        incomplete: Vec<Incomplete>,
        patience: Patience,
    ) -> Result<Outcome, TraceError> {
        let began = Instant::now();
        let names_by = began + patience.names();
        self.apply(&events, Some(now_ns));
        self.symbols.end_by(names_by);
        let summary = Arc::new(self.engine.summary(now_ns));
        summary.owners.iter().for_each(|owner| self.request_names(&owner.evidence));
        let dropped = self.recorder.as_ref().map(|recorder| (recorder.name().to_owned(), recorder.dropped()));
        let recorder = self.recorder.take().map(|mut recorder| {
            recorder.keep(events, Some(now_ns));
            recorder.end(names_by);
            recorder
        });
        let completeness = Arc::new(self.completeness(dropped, incomplete, summary.evicted));
        let deadline = patience.sinks().filter(|_| self.pace == Pace::Live).map(|time| began + time);
        let shown = self.sinks.end(&summary, &completeness, deadline);
        let recorded = recorder.map_or(Ok(()), |recorder| recorder.wait(began + patience.recording()));
        if let Ok(failure) = self.failures.try_recv() {
            return Err(failure);
        }
        shown?;
        recorded?;
        Ok(Outcome {
            summary: Arc::unwrap_or_clone(summary),
            completeness: Arc::unwrap_or_clone(completeness),
        })
    }

    /// What the source could not find out, and what this side lacks.
    fn completeness(
        &self,
        recording: Option<(String, u64)>,
        incomplete: Vec<Incomplete>,
        evicted: u64,
    ) -> Completeness {
        let mut found = Completeness { loop_lag: self.lag.report(), incomplete };
        for (stage, count) in &self.lost {
            found.lacks(format!("lost events ({}): totals are inexact", stage.name()), *count, BUFFER);
        }
        for (name, count) in self.sinks.dropped() {
            found.lacks_findings(name, count);
        }
        if let Some((name, count)) = recording {
            found.lacks(format!("events not recorded in {name}: the disk is too slow"), count, DISK);
        }
        let (unnamed, stuck) = self.symbols.missed();
        let unnamed_sites = "call sites shown without their function: reading its file took too long";
        found.lacks(unnamed_sites.to_owned(), unnamed, AGAIN);
        found.lacks("readers of symbols that are stuck in a file".to_owned(), stuck, AGAIN);
        let stalled = "captures that did not end in time: the last totals are missing".to_owned();
        found.lacks(stalled, u64::from(self.capture_stalled), REPORT);
        found.lacks("entries evicted from full tables: verdicts may miss a part".to_owned(), evicted, FILTER);
        found
    }
}

const BUFFER: &str = "trace with a larger --buffer";
const DISK: &str = "record to a faster disk";
const FILTER: &str = "trace less: --netns, --pid, --cgroup or --proto";
const AGAIN: &str = "replay a recording on a machine that has the file";
const REPORT: &str = "report it, with the load of the machine";
