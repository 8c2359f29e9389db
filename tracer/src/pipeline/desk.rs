//! Where all events pass: into the recording if there is one, through the engine, to the output.

use super::TraceError;
use crate::engine::report::Summary;
use crate::engine::{Config, Engine};
use crate::event::Event;
use crate::recording::{Header, Recording};
use crate::sink::{Sink, SinkError};
use crate::source::Source;
use std::time::{Duration, Instant};

/// How long the end of a recording waits for names of call sites.
const NAMES: Duration = Duration::from_secs(5);

/// Takes in events and tells what follows from them.
pub struct Desk<'a> {
    engine: Engine,
    output: &'a mut dyn Sink,
    began_ns: u64,
    recording: Option<(Recording, Header)>,
}

impl<'a> Desk<'a> {
    /// Judges by `config` from `began_ns` on, tells `output`, and keeps all that is taken in.
    #[must_use]
    pub fn new(
        config: Config,
        began_ns: u64,
        output: &'a mut dyn Sink,
        recording: Option<(Recording, Header)>,
    ) -> Self {
        let recording = recording
            .map(|(recording, header)| (recording, Header { config: config.clone(), began_ns, ..header }));
        Self { engine: Engine::new(config, began_ns), output, began_ns, recording }
    }

    /// It begins.
    pub(super) fn start(&mut self) -> Result<(), TraceError> {
        if let Some((recording, header)) = &mut self.recording {
            recording.begin(header)?;
        }
        Ok(self.output.start(self.began_ns)?)
    }

    /// Applies `events`, which leaves them empty, and lets the time become `now_ns`. Tells what
    /// follows even if it cannot be recorded.
    pub(super) fn take(&mut self, events: &mut Vec<Event>, now_ns: u64) -> Result<(), TraceError> {
        let keep = |(recording, _): &mut (Recording, _)| recording.batch(events, now_ns);
        let recorded = self.recording.as_mut().map_or(Ok(()), keep);
        if recorded.is_err() {
            self.recording = None; // It ends there.
        }
        self.apply(events);
        self.advance(now_ns)?;
        Ok(recorded?)
    }

    /// Applies `events`, which leaves them empty.
    pub(super) fn apply(&mut self, events: &mut Vec<Event>) {
        for event in events.drain(..) {
            self.engine.apply(&event);
        }
    }

    /// Lets the time become `now_ns` and tells what there is to tell.
    pub(super) fn advance(&mut self, now_ns: u64) -> Result<(), SinkError> {
        self.engine.advance(now_ns);
        self.engine.take_findings().iter().try_for_each(|finding| self.output.finding(finding))
    }

    /// Asks the source what the engine would like to know.
    pub(super) fn ask(&mut self, source: &mut impl Source) {
        let questions = self.engine.take_idle_queries();
        if !questions.is_empty() {
            source.ask(&questions);
        }
    }

    /// Tells how it goes.
    pub(super) fn progress(&mut self, now_ns: u64) {
        self.output.progress(&self.engine.progress(), now_ns);
    }

    /// Takes the last events and tells the summary; ends the recording.
    pub(super) fn finish(mut self, events: &mut Vec<Event>, now_ns: u64) -> Result<Summary, TraceError> {
        let end = |(mut recording, _): (Recording, _)| {
            recording.batch(events, now_ns)?;
            recording.end(Instant::now() + NAMES)
        };
        let recorded = self.recording.take().map_or(Ok(()), end);
        self.apply(events);
        let summary = self.conclude(now_ns)?;
        recorded?;
        Ok(summary)
    }

    /// Tells the summary.
    pub(super) fn conclude(&mut self, now_ns: u64) -> Result<Summary, SinkError> {
        self.advance(now_ns)?;
        let summary = self.engine.summary(now_ns);
        self.output.summary(&summary)?;
        Ok(summary)
    }
}
