//! A trace file as a source: the same events as a live trace, as fast as they can be read.

use super::trace_index::TraceIndex;
use super::{ReadError, Reader};
use crate::event::{Capture, Event, EventKind, LossStage};
use crate::source::windows::model::Model;
use crate::source::{Source, SourceError, Turn};
use std::fs::File;
use std::future::pending;
use std::io::{Read, Seek};
use std::path::Path;

/// How many records one drain reads.
const BATCH: usize = 4_096;

/// An open trace file.
#[derive(Debug)]
pub struct Trace<R = File> {
    name: String,
    reader: Reader<R>,
    model: Model,
    capture: Capture,
    now_ns: u64,
    /// The losses in the trace's header, until they are emitted.
    lost: u64,
    over: bool,
}

impl Trace {
    /// Opens the trace file at `path`. It is read twice: now, and while its events are drained.
    ///
    /// # Errors
    /// When it cannot be read, is no trace, or has no events about ports.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let name = path.display().to_string();
        let file = File::open(path).map_err(|error| failure(&name, &error.into()))?;
        Self::of(name, file)
    }
}

impl<R: Read + Seek> Trace<R> {
    /// A trace in `file`, called `name` in messages.
    ///
    /// # Errors
    /// When it cannot be read, is no trace, or has no events about ports.
    pub fn of(name: String, file: R) -> Result<Self, SourceError> {
        let mut index = TraceIndex::default();
        let reader = Reader::open(file, |_, _, record| index.observe(record));
        let reader = reader.map_err(|error| failure(&name, &error))?;
        let header = reader.header();
        let (background, capture) = index.finish(&name, header, reader.integrity())?;
        let model = Model::new(header, &background);
        let (now_ns, lost) = (header.start_ns(), header.events_lost.saturating_add(header.buffers_lost));
        Ok(Self { name, reader, model, capture, now_ns, lost, over: false })
    }

    /// What is damaged in the file; `None` if nothing is.
    #[must_use]
    pub fn damage(&self) -> Option<String> {
        self.reader.integrity().damage()
    }

    /// Whether all of it has been read.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.over
    }
}

impl<R: Read + Seek> Source for Trace<R> {
    fn capture(&self) -> &Capture {
        &self.capture
    }

    /// The time of the last record that was read.
    fn now_ns(&self) -> u64 {
        self.now_ns
    }

    async fn ready(&mut self) {
        if self.over {
            pending::<()>().await;
        }
    }

    fn drain(&mut self, events: &mut Vec<Event>) -> Result<(), SourceError> {
        if self.lost > 0 {
            let kind = EventKind::Lost { count: self.lost, stage: LossStage::Etw };
            events.push(Event { at_ns: self.now_ns, kind });
            self.lost = 0;
        }
        let Self { reader, model, now_ns, .. } = self;
        let more = reader.read(BATCH, |header, at_ns, record| {
            *now_ns = at_ns.max(*now_ns);
            model.apply(header, at_ns, record, events);
        });
        self.over = !more.map_err(|error| failure(&self.name, &error))?;
        Ok(())
    }

    fn turn(&mut self, events: &mut Vec<Event>) -> Result<Turn, SourceError> {
        self.drain(events)?;
        Ok(if self.over { Turn::End(self.now_ns) } else { Turn::Until(self.now_ns) })
    }

    fn stop(&mut self, events: &mut Vec<Event>) -> Result<(), SourceError> {
        while !self.over {
            self.drain(events)?;
        }
        Ok(())
    }
}

fn failure(name: &str, error: &ReadError) -> SourceError {
    let remedy = match error {
        ReadError::Io(_) => "name an event trace that you may read",
        ReadError::NoTrace => "name an .etl file of netsh trace, wpr or logman, or a recording of portleak",
        ReadError::TooWide => "copy it again from where it was recorded",
    };
    SourceError { what: format!("cannot read {name}: {error}"), remedy: remedy.to_owned() }
}
