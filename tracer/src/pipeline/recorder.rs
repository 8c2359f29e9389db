//! The recording, on a thread of its own behind a queue.
//!
//! Nobody waits for a disk: events for which the queue has no room are missing in the recording,
//! which has their number in their place, and the source is asked to list anew what is held. The
//! verdicts of the trace itself are not affected.

use super::TraceError;
use crate::event::{Event, EventKind, LossStage};
use crate::recording::{Header, RecordError, Recording};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use std::{io, thread};
use tokio::sync::mpsc::UnboundedSender;

/// Pieces, and the events in them, that wait for the disk at most.
const PIECES_MAX: usize = 1_024;
const EVENTS_MAX: usize = 1 << 17;

enum Piece {
    /// Events, and how far time has come after them.
    Batch(Vec<Event>, Option<u64>),
    /// The end. Names of call sites are waited for until then.
    End(Instant),
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// It will be written.
    Yes,
    /// It will be, and it is the first after some that were not.
    Again,
    /// There was no room.
    No,
}

/// A recording, seen from the loop.
pub(super) struct Recorder {
    name: String,
    queue: Sender<Piece>,
    /// Events in the queue.
    queued: Arc<AtomicUsize>,
    /// Disconnected when the thread has ended.
    ended: Receiver<()>,
    /// Events that were dropped, and those of them whose number is not in the recording yet.
    dropped: u64,
    unreported: u64,
}

impl Recorder {
    /// Starts the thread; it reports a failure to `failures` and ends with it.
    pub(super) fn start(
        recording: Recording,
        header: Header,
        failures: UnboundedSender<TraceError>,
    ) -> io::Result<Self> {
        let name = recording.name().to_owned();
        let (queue, pieces) = bounded(PIECES_MAX);
        let (alive, ended) = bounded(0);
        let queued = Arc::new(AtomicUsize::new(0));
        let in_queue = Arc::clone(&queued);
        let work = move || {
            if let Err(error) = write(recording, &header, &pieces, &in_queue) {
                // Before it counts as ended.
                let _ = failures.send(error.into());
            }
            drop::<Sender<()>>(alive);
        };
        thread::Builder::new().name("recorder".to_owned()).spawn(work)?;
        Ok(Self { name, queue, queued, ended, dropped: 0, unreported: 0 })
    }

    /// Keeps a batch if there is room.
    pub(super) fn keep(&mut self, mut events: Vec<Event>, until_ns: Option<u64>) -> Kept {
        let count = events.len();
        if self.queued.load(Ordering::Relaxed) + count > EVENTS_MAX || self.queue.is_full() {
            self.dropped += count as u64;
            self.unreported += count as u64;
            return Kept::No;
        }
        let kept = if self.unreported > 0 { Kept::Again } else { Kept::Yes };
        if let (Kept::Again, Some(at_ns)) = (kept, events.first().map(|event| event.at_ns).or(until_ns)) {
            let kind = EventKind::Lost { count: self.unreported, stage: LossStage::Queue };
            events.insert(0, Event { at_ns, kind });
            self.unreported = 0;
        }
        self.queued.fetch_add(events.len(), Ordering::Relaxed);
        // A thread that has ended has said why.
        let _ = self.queue.try_send(Piece::Batch(events, until_ns));
        kept
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Events that are missing in the recording.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Asks for the end, with the names of call sites that are known by then.
    pub(super) fn end(&self, names_by: Instant) {
        let _ = self.queue.send_deadline(Piece::End(names_by), names_by);
    }

    /// Waits until the recording is written, at most until `deadline`.
    pub(super) fn wait(self, deadline: Instant) -> Result<(), RecordError> {
        match self.ended.recv_deadline(deadline) {
            Err(why) if why.is_timeout() => Err(RecordError::Stalled { name: self.name }),
            _ => Ok(()),
        }
    }
}

fn write(
    mut recording: Recording,
    header: &Header,
    pieces: &Receiver<Piece>,
    queued: &AtomicUsize,
) -> Result<(), RecordError> {
    recording.begin(header)?;
    for piece in pieces {
        match piece {
            Piece::Batch(events, until_ns) => {
                recording.batch(&events, until_ns)?;
                queued.fetch_sub(events.len(), Ordering::Relaxed);
            }
            Piece::End(names_by) => return recording.end(names_by),
        }
    }
    Ok(())
}
