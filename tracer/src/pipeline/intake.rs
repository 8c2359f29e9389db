//! Where the loop's batches come from: the capture of this machine, or a file.

use crate::event::{Event, HoldId, Incomplete};
use crate::source::{Source, SourceError, Turn};
use std::time::Instant;

/// Events in their order.
#[derive(Debug)]
pub struct Batch {
    /// What happened.
    pub events: Vec<Event>,
    /// How far time has come after them, in nanoseconds on the source's clock; `None` when the next
    /// batch belongs to the same instant.
    pub until_ns: Option<u64>,
    /// When the capture was to read them.
    pub due: Instant,
}

/// The last thing that comes of a source.
#[derive(Debug)]
pub struct End {
    /// What happened since the last batch.
    pub events: Vec<Event>,
    /// When it was, in nanoseconds on the source's clock.
    pub now_ns: u64,
    /// What the source could not find out.
    pub incomplete: Vec<Incomplete>,
    /// Whether the source broke.
    pub ended: Result<(), SourceError>,
}

impl Default for End {
    /// Nothing more came.
    fn default() -> Self {
        Self { events: Vec::new(), now_ns: 0, incomplete: Vec::new(), ended: Ok(()) }
    }
}

/// What an intake delivers.
#[derive(Debug)]
pub enum Delivery {
    /// A batch.
    Batch(Batch),
    /// The end; nothing comes after it.
    End(End),
}

/// Delivers batches to the loop.
pub trait Intake {
    /// The next delivery. May be dropped and called again.
    fn next(&mut self) -> impl Future<Output = Delivery>;

    /// Asks for how long these holds have been idle.
    fn query_idle(&mut self, holds: Vec<HoldId>);

    /// Somebody after the source has lost events: it is to list anew what is held.
    fn resync(&mut self);

    /// Asks for the end: what is left is delivered, then [`Delivery::End`].
    fn stop(&mut self);

    /// Takes back the memory of a batch.
    fn recycle(&mut self, _events: Vec<Event>) {}
}

/// Reads a file in place: it waits for its reader, so nothing of it is ever lost.
#[derive(Debug)]
pub struct Reading<S> {
    source: S,
    events: Vec<Event>,
    stopped: bool,
}

impl<S: Source> Reading<S> {
    /// Reads `source`.
    #[must_use]
    pub fn new(source: S) -> Self {
        Self { source, events: Vec::new(), stopped: false }
    }

    /// The file, to be asked what it lacked.
    #[must_use]
    pub fn source(&self) -> &S {
        &self.source
    }

    fn read(&mut self) -> Delivery {
        let mut events = std::mem::take(&mut self.events);
        let end = |events, now_ns, ended| Delivery::End(End { events, now_ns, ended, ..End::default() });
        let batch = |events, until_ns| Delivery::Batch(Batch { events, until_ns, due: Instant::now() });
        if self.stopped {
            return end(events, self.source.now_ns(), Ok(()));
        }
        match self.source.turn(&mut events) {
            Ok(Turn::More) => batch(events, None),
            Ok(Turn::Until(now_ns)) => batch(events, Some(now_ns)),
            Ok(Turn::End(now_ns)) => end(events, now_ns, Ok(())),
            Err(error) => end(events, self.source.now_ns(), Err(error)),
        }
    }
}

impl<S: Source> Intake for Reading<S> {
    async fn next(&mut self) -> Delivery {
        self.read()
    }

    fn query_idle(&mut self, _holds: Vec<HoldId>) {}

    fn resync(&mut self) {}

    fn stop(&mut self) {
        self.stopped = true;
    }

    fn recycle(&mut self, mut events: Vec<Event>) {
        events.clear();
        self.events = events;
    }
}
