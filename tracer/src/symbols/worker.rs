//! The thread that reads names. It ends when it has been idle for a while, which also frees the memory
//! of the files that it has read; the next request starts another thread.
//!
//! A worker that is stuck is abandoned: another replaces it, and it ends when its read returns.

use super::shared::Shared;
use super::{Place, ReadNames};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{io, thread};

/// How long a worker waits for work before it ends.
const IDLE: Duration = Duration::from_secs(10);

/// Which worker reads, and what.
#[derive(Debug, Default)]
pub(super) struct Worker {
    /// The number of the last worker that was started.
    generation: u64,
    running: bool,
    /// The place that it reads, and since when.
    reading: Option<(Place, Instant)>,
    abandoned: usize,
}

impl Worker {
    pub(super) fn start(&mut self, start: impl FnOnce(u64) -> io::Result<()>) {
        self.generation += 1;
        self.running = start(self.generation).is_ok();
    }

    pub(super) fn abandon(&mut self) {
        self.abandoned += 1;
        self.running = false;
        self.reading = None;
    }

    /// Worker `generation` ends, of itself.
    pub(super) fn ends(&mut self, generation: u64) {
        if self.generation == generation {
            self.running = false;
        }
    }

    pub(super) fn begins(&mut self, place: Place) {
        self.reading = Some((place, Instant::now()));
    }

    /// Worker `generation` has come back from a read. False if it had been abandoned.
    pub(super) fn finished(&mut self, generation: u64) -> bool {
        let current = self.is_current(generation);
        if current {
            self.reading = None;
        } else {
            self.abandoned = self.abandoned.saturating_sub(1);
        }
        current
    }

    pub(super) fn is_current(&self, generation: u64) -> bool {
        self.running && self.generation == generation
    }

    pub(super) fn is_running(&self) -> bool {
        self.running
    }

    pub(super) fn reading(&self) -> Option<&(Place, Instant)> {
        self.reading.as_ref()
    }

    pub(super) fn abandoned(&self) -> usize {
        self.abandoned
    }
}

/// Starts worker `generation`.
pub(super) fn start(
    shared: Arc<Shared>,
    generation: u64,
    reader: fn() -> Box<dyn ReadNames>,
) -> io::Result<()> {
    let work = move || {
        let mut reader = reader();
        while let Some(place) = shared.next(generation, IDLE) {
            let names = reader.read(&place.0, place.1);
            shared.has_read(generation, place, names);
        }
    };
    thread::Builder::new().name("symbols".to_owned()).spawn(work).map(drop)
}
