//! The capture: a thread that reads the live source, and does nothing else.
//!
//! Surprising: it waits a little after each read even when the source has more. A storm of events is
//! then read in batches, and the wake-ups cost the same for ten events as for ten thousand.
//!
//! It never waits for the loop. While the queue to it is full, batches are joined; when they become
//! too many they are dropped, which is counted, and the source is asked to list anew what is held.

use super::intake::{Batch, Delivery, End, Intake};
use crate::event::{Capture, Event, EventKind, HoldId, LossStage};
use crate::source::{Source, SourceError};
use std::time::{Duration, Instant};
use std::{io, thread};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval, sleep};

/// How often the source is read when nothing happens.
const TICK: Duration = Duration::from_millis(250);
/// The shortest time between two reads of the source.
const PAUSE: Duration = Duration::from_millis(10);
/// Deliveries in the queue, and events in each of them, at most.
const QUEUE_MAX: usize = 16;
const BATCH_MAX: usize = 4_096;
/// Events that wait for room in the queue; more are dropped. All sockets of a large machine are
/// listed at the start, at once.
const WAITING_MAX: usize = 1 << 19;

/// What the loop wants of the capture.
enum Order {
    /// Runs this while the source marks the processes that it starts.
    Start(Box<dyn FnOnce() + Send>),
    Begin,
    QueryIdle(Vec<HoldId>),
    Resync,
    Stop,
}

/// The loop's end of a capture.
pub struct Capturing {
    deliveries: mpsc::Receiver<Delivery>,
    orders: mpsc::UnboundedSender<Order>,
}

/// The capture's end.
pub struct Line {
    queue: mpsc::Sender<Delivery>,
    orders: mpsc::UnboundedReceiver<Order>,
}

/// What is known once a source is open.
#[derive(Clone, Debug)]
pub struct Opened {
    /// What it sees.
    pub capture: Capture,
    /// From when on everything is emitted, and the instant at which it was open, in nanoseconds on
    /// the source's clock.
    pub began_ns: u64,
    /// See `began_ns`.
    pub now_ns: u64,
}

/// Both ends of a capture.
#[must_use]
pub fn line() -> (Capturing, Line) {
    let (queue, deliveries) = mpsc::channel(QUEUE_MAX);
    let (orders, ordered) = mpsc::unbounded_channel();
    (Capturing { deliveries, orders }, Line { queue, orders: ordered })
}

/// Opens a source on a thread of its own, which captures once [`Capturing::begin`] says so.
///
/// # Errors
/// When the source cannot be opened.
pub async fn open<S: Source>(
    open: impl FnOnce() -> Result<S, SourceError> + Send + 'static,
) -> Result<(Opened, Capturing), SourceError> {
    let (capturing, line) = line();
    let (report, opened) = oneshot::channel();
    let work = move || {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return drop(report.send(Err(no_thread(&error)))),
        };
        let _inside = runtime.enter();
        match open() {
            Ok(mut source) => {
                let (capture, began_ns) = (source.capture().clone(), source.began_ns());
                let opened = Opened { capture, began_ns, now_ns: source.now_ns() };
                if report.send(Ok(opened)).is_ok() {
                    runtime.block_on(line.capture(&mut source));
                }
            }
            Err(error) => drop(report.send(Err(error))),
        }
    };
    thread::Builder::new().name("capture".to_owned()).spawn(work).map_err(|error| no_thread(&error))?;
    let opened = opened.await.map_err(|_| ended_early())??;
    Ok((opened, capturing))
}

impl Capturing {
    /// Lets the capture begin. Until then the source keeps what happens.
    pub fn begin(&self) {
        self.order(Order::Begin);
    }

    /// Runs `start` on the capture's thread. The source marks the processes that it starts as the
    /// roots of the command's tree.
    pub(super) fn with_marked_children(&self, start: impl FnOnce() + Send + 'static) {
        self.order(Order::Start(Box::new(start)));
    }

    /// A capture that has ended needs no orders.
    fn order(&self, order: Order) {
        let _ = self.orders.send(order);
    }
}

impl Intake for Capturing {
    async fn next(&mut self) -> Delivery {
        let ended = || End { ended: Err(ended_early()), ..End::default() };
        self.deliveries.recv().await.unwrap_or_else(|| Delivery::End(ended()))
    }

    fn query_idle(&mut self, holds: Vec<HoldId>) {
        self.order(Order::QueryIdle(holds));
    }

    fn resync(&mut self) {
        self.order(Order::Resync);
    }

    fn stop(&mut self) {
        self.order(Order::Stop);
    }
}

impl Line {
    /// Captures until the loop says stop, or the source breaks; what it saw by then is delivered.
    pub async fn capture(mut self, source: &mut impl Source) {
        loop {
            match self.orders.recv().await {
                Some(Order::Begin) => break,
                Some(Order::Start(start)) => start_marked(source, start),
                Some(_) => {}
                None => return,
            }
        }
        let mut waiting = Waiting::default();
        let captured = self.follow(source, &mut waiting).await;
        let stopped = source.stop(&mut waiting.events);
        let (events, now_ns, incomplete) = (waiting.take(), source.now_ns(), source.incomplete());
        // Now the loop waits for us, so that we can wait for the loop. If it is gone, so is the need.
        let end = Delivery::End(End { events, now_ns, incomplete, ended: captured.and(stopped) });
        let _ = self.queue.send(end).await;
    }

    async fn follow(&mut self, source: &mut impl Source, waiting: &mut Waiting) -> Result<(), SourceError> {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let due = tokio::select! {
                biased;
                order = self.orders.recv() => match order {
                    Some(Order::QueryIdle(holds)) => {
                        source.ask(&holds);
                        continue;
                    }
                    Some(Order::Resync) => {
                        source.resync();
                        continue;
                    }
                    Some(Order::Start(start)) => {
                        start_marked(source, start);
                        continue;
                    }
                    Some(Order::Begin) => continue,
                    Some(Order::Stop) | None => return Ok(()),
                },
                due = tick.tick() => due.into_std(),
                () = batch(source) => Instant::now(),
            };
            source.drain(&mut waiting.events)?;
            if waiting.send(&self.queue, source.now_ns(), due) == Sent::Dropped {
                source.resync();
            }
        }
    }
}

fn start_marked(source: &mut impl Source, start: Box<dyn FnOnce() + Send>) {
    source.mark_children(true);
    start();
    source.mark_children(false);
}

/// Completes when the source has something, but not at once again.
async fn batch(source: &mut impl Source) {
    sleep(PAUSE).await;
    source.ready().await;
}

/// What became of the events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    All,
    /// Some wait for room in the queue.
    Waiting,
    /// There were too many.
    Dropped,
}

/// Events that are not in the queue yet.
#[derive(Debug, Default)]
struct Waiting {
    events: Vec<Event>,
    /// Events that were dropped before these.
    dropped: u64,
}

impl Waiting {
    /// Sends what there is room for, at `now_ns`.
    fn send(&mut self, queue: &mpsc::Sender<Delivery>, now_ns: u64, due: Instant) -> Sent {
        loop {
            let permit = match queue.try_reserve() {
                Ok(permit) => permit,
                Err(TrySendError::Full(())) if self.events.len() > WAITING_MAX => {
                    self.dropped += self.events.len() as u64;
                    self.events.clear();
                    return Sent::Dropped;
                }
                // A loop that is gone has said stop.
                Err(TrySendError::Full(()) | TrySendError::Closed(())) => return Sent::Waiting,
            };
            self.emit_loss(now_ns);
            let is_last = self.events.len() <= BATCH_MAX;
            let later = if is_last { Vec::new() } else { self.events.split_off(BATCH_MAX) };
            let events = std::mem::replace(&mut self.events, later);
            permit.send(Delivery::Batch(Batch { events, until_ns: is_last.then_some(now_ns), due }));
            if is_last {
                return Sent::All;
            }
        }
    }

    /// Puts the loss before what was not lost.
    fn emit_loss(&mut self, now_ns: u64) {
        let count = std::mem::take(&mut self.dropped);
        if count > 0 {
            let at_ns = self.events.first().map_or(now_ns, |event| event.at_ns);
            let kind = EventKind::Lost { count, stage: LossStage::Queue };
            self.events.insert(0, Event { at_ns, kind });
        }
    }

    fn take(&mut self) -> Vec<Event> {
        self.emit_loss(0);
        std::mem::take(&mut self.events)
    }
}

pub(super) fn no_thread(error: &io::Error) -> SourceError {
    SourceError {
        what: format!("cannot start a thread: {error}"),
        remedy: "end other processes, or raise the limit of processes (ulimit -u)".to_owned(),
    }
}

pub(super) fn ended_early() -> SourceError {
    SourceError {
        what: "the capture ended unexpectedly".to_owned(),
        remedy: "report it with what was written before".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(count: u64) -> Vec<Event> {
        (0..count).map(|at_ns| Event { at_ns, kind: EventKind::ResyncBegan }).collect()
    }

    fn delivered(deliveries: &mut mpsc::Receiver<Delivery>) -> Vec<Batch> {
        let batch = |delivery| match delivery {
            Delivery::Batch(batch) => batch,
            Delivery::End(end) => panic!("{end:?}"),
        };
        std::iter::from_fn(|| deliveries.try_recv().ok()).map(batch).collect()
    }

    #[test]
    fn many_events_stay_in_order_and_belong_to_one_instant() {
        let (mut loop_end, line) = line();
        let mut waiting = Waiting { events: events(10_000), ..Waiting::default() };
        assert_eq!(waiting.send(&line.queue, 7, Instant::now()), Sent::All);
        let batches = delivered(&mut loop_end.deliveries);
        let until: Vec<_> = batches.iter().map(|batch| batch.until_ns).collect();
        assert_eq!(until, [None, None, Some(7)]);
        let all: Vec<_> = batches.into_iter().flat_map(|batch| batch.events).collect();
        assert_eq!(all, events(10_000));
    }

    #[test]
    fn what_a_full_queue_has_no_room_for_is_counted_in_its_place() {
        let (mut loop_end, line) = line();
        let mut waiting = Waiting::default();
        for _ in 0..QUEUE_MAX {
            waiting.events = events(1);
            assert_eq!(waiting.send(&line.queue, 1, Instant::now()), Sent::All);
        }
        waiting.events = events(5);
        assert_eq!(waiting.send(&line.queue, 2, Instant::now()), Sent::Waiting);
        waiting.events.extend(events(WAITING_MAX as u64));
        assert_eq!(waiting.send(&line.queue, 3, Instant::now()), Sent::Dropped);
        delivered(&mut loop_end.deliveries);
        waiting.events = events(1);
        assert_eq!(waiting.send(&line.queue, 4, Instant::now()), Sent::All);
        let batch = delivered(&mut loop_end.deliveries).remove(0);
        let lost = EventKind::Lost { count: WAITING_MAX as u64 + 5, stage: LossStage::Queue };
        let kinds: Vec<_> = batch.events.into_iter().map(|event| event.kind).collect();
        assert_eq!(kinds, [lost, EventKind::ResyncBegan]);
    }
}
