//! The sinks, each on a thread of its own behind a queue.
//!
//! While a trace lasts, nobody waits for a sink: a finding for which its queue has no room is dropped
//! and counted. At the end, a sink that is slow skips the findings still queued, so that its summary
//! is written in time; they are counted too. A replay waits, for there is nothing that it could miss.

use super::{Pace, TraceError};
use crate::engine::report::{Finding, Progress, Summary};
use crate::event::LossStage;
use crate::sink::{Completeness, Sink, SinkError};
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use std::{io, thread};
use tokio::sync::mpsc::UnboundedSender;

/// Messages in the queue of a sink at most.
const QUEUE_MAX: usize = 1_024;

/// How often a sink that does not end is looked at, and how long it may be at work.
const CHECK: Duration = Duration::from_millis(20);
const WORK_MAX: Duration = Duration::from_secs(4);

enum Message {
    Start(u64),
    Finding(Arc<Finding>),
    Progress(Progress, u64),
    Summary(Arc<Summary>, Arc<Completeness>),
}

/// All sinks.
pub(super) struct FanOut {
    outlets: Vec<Outlet>,
    pace: Pace,
}

/// One sink, seen from the loop.
struct Outlet {
    name: String,
    wants_progress: bool,
    queue: Sender<Message>,
    /// Whether the sink may wait for its reader.
    writing: Arc<AtomicBool>,
    /// From when on its findings are skipped.
    skip_from: Arc<OnceLock<Instant>>,
    /// Disconnected when the sink has ended.
    ended: Receiver<()>,
    /// Findings that were dropped, and those of them that the sink has not been sent the number of.
    dropped: u64,
    unreported: u64,
}

impl FanOut {
    /// Starts a thread for each sink; it reports a failure of its sink to `failures`.
    pub(super) fn start(
        sinks: Vec<Box<dyn Sink>>,
        pace: Pace,
        failures: &UnboundedSender<TraceError>,
    ) -> io::Result<Self> {
        let outlets = sinks.into_iter().map(|sink| Outlet::start(sink, failures.clone()));
        Ok(Self { outlets: outlets.collect::<io::Result<_>>()?, pace })
    }

    pub(super) fn begin(&mut self, now_ns: u64) {
        for outlet in &mut self.outlets {
            outlet.offer(Message::Start(now_ns), self.pace);
        }
    }

    pub(super) fn finding(&mut self, finding: &Arc<Finding>, now_ns: u64) {
        for outlet in &mut self.outlets {
            outlet.finding(finding, now_ns, self.pace);
        }
    }

    pub(super) fn wants_progress(&self) -> bool {
        self.outlets.iter().any(|outlet| outlet.wants_progress)
    }

    /// A sink that is busy does without.
    pub(super) fn progress(&mut self, progress: Progress, now_ns: u64) {
        for outlet in self.outlets.iter_mut().filter(|outlet| outlet.wants_progress) {
            let _ = outlet.queue.try_send(Message::Progress(progress, now_ns));
        }
    }

    /// The sinks that dropped findings, and how many.
    pub(super) fn dropped(&self) -> impl Iterator<Item = (&str, u64)> {
        let dropped = |outlet: &Outlet| outlet.dropped > 0;
        let outlets = self.outlets.iter();
        outlets.filter(move |outlet| dropped(outlet)).map(|outlet| (outlet.name.as_str(), outlet.dropped))
    }

    /// Sends the summary and waits until every sink has written it, at most until `deadline`. Findings
    /// that are still queued when half of that time is over are skipped.
    pub(super) fn end(
        self,
        summary: &Arc<Summary>,
        completeness: &Arc<Completeness>,
        deadline: Option<Instant>,
    ) -> Result<(), SinkError> {
        if let Some(deadline) = deadline {
            let now = Instant::now();
            let skip_from = now + deadline.saturating_duration_since(now) / 2;
            self.outlets.iter().for_each(|outlet| _ = outlet.skip_from.set(skip_from));
        }
        // One that is stalled must not keep the others waiting.
        let mut full = Vec::new();
        for outlet in &self.outlets {
            let message = Message::Summary(Arc::clone(summary), Arc::clone(completeness));
            if let Err(TrySendError::Full(message)) = outlet.queue.try_send(message) {
                full.push((outlet, message));
            }
        }
        for (outlet, message) in full {
            let _ = match deadline {
                Some(deadline) => outlet.queue.send_deadline(message, deadline).is_ok(),
                None => outlet.queue.send(message).is_ok(),
            };
        }
        let mut stalled = None;
        for outlet in self.outlets {
            let ended = match deadline {
                Some(deadline) => outlet.ends_by(deadline),
                None => outlet.ended.recv().is_err(),
            };
            if !ended {
                stalled.get_or_insert(SinkError::Stalled { name: outlet.name });
            }
        }
        stalled.map_or(Ok(()), Err)
    }
}

impl Outlet {
    fn start(sink: Box<dyn Sink>, failures: UnboundedSender<TraceError>) -> io::Result<Self> {
        let (name, wants_progress) = (sink.name().to_owned(), sink.wants_progress());
        let writing = sink.writing();
        let (queue, messages) = bounded(QUEUE_MAX);
        let (alive, ended) = bounded(0);
        let skip_from = Arc::new(OnceLock::new());
        let skip_from_there = Arc::clone(&skip_from);
        let work = move || {
            if let Err(error) = write(sink, &messages, &skip_from_there) {
                // Before it counts as ended.
                let _ = failures.send(error.into());
            }
            drop::<Sender<()>>(alive);
        };
        thread::Builder::new().name("sink".to_owned()).spawn(work)?;
        Ok(Self { name, wants_progress, queue, writing, skip_from, ended, dropped: 0, unreported: 0 })
    }

    /// False if there was no room.
    fn offer(&mut self, message: Message, pace: Pace) -> bool {
        match pace {
            // A sink that has ended takes nothing more, and has said why.
            Pace::File => {
                let _ = self.queue.send(message);
                true
            }
            Pace::Live => !matches!(self.queue.try_send(message), Err(TrySendError::Full(_))),
        }
    }

    /// Waits until the sink has ended. One that waits for its reader has time until `deadline`; one
    /// that is still at work, on a busy machine, has more.
    fn ends_by(&self, deadline: Instant) -> bool {
        loop {
            match self.ended.recv_timeout(CHECK) {
                Err(why) if why.is_timeout() => {}
                _ => return true,
            }
            let now = Instant::now();
            let is_blocked = now >= deadline && self.writing.load(Ordering::Relaxed);
            if is_blocked || now >= deadline + WORK_MAX {
                return false;
            }
        }
    }

    fn finding(&mut self, finding: &Arc<Finding>, now_ns: u64, pace: Pace) {
        if self.unreported > 0 {
            let (count, stage) = (self.unreported, LossStage::Output);
            let lost = Finding::Lost { at_ns: now_ns, count, stage };
            if self.offer(Message::Finding(Arc::new(lost)), pace) {
                self.unreported = 0;
            }
        }
        if self.unreported > 0 || !self.offer(Message::Finding(Arc::clone(finding)), pace) {
            self.unreported += 1;
            self.dropped += 1;
        }
    }
}

fn write(
    mut sink: Box<dyn Sink>,
    messages: &Receiver<Message>,
    skip_from: &OnceLock<Instant>,
) -> Result<(), SinkError> {
    let is_late = || skip_from.get().is_some_and(|&from| Instant::now() >= from);
    let mut skipped = 0;
    for message in messages {
        match message {
            Message::Start(now_ns) => sink.start(now_ns)?,
            Message::Finding(_) if is_late() => skipped += 1,
            Message::Finding(finding) => sink.finding(&finding)?,
            Message::Progress(progress, now_ns) => sink.progress(&progress, now_ns),
            Message::Summary(summary, completeness) if skipped > 0 => {
                let mut completeness = Arc::unwrap_or_clone(completeness);
                completeness.lacks_findings(sink.name(), skipped);
                return sink.summary(&summary, &completeness);
            }
            Message::Summary(summary, completeness) => return sink.summary(&summary, &completeness),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::fixtures;
    use std::sync::Mutex;

    #[derive(Clone, Default)]
    struct Written {
        findings: Arc<Mutex<u32>>,
        lacks: Arc<Mutex<Vec<(String, u64)>>>,
    }

    impl Sink for Written {
        fn name(&self) -> &str {
            "test"
        }

        fn start(&mut self, _: u64) -> Result<(), SinkError> {
            Ok(())
        }

        fn finding(&mut self, _: &Finding) -> Result<(), SinkError> {
            *self.findings.lock().unwrap() += 1;
            Ok(())
        }

        fn summary(&mut self, _: &Summary, completeness: &Completeness) -> Result<(), SinkError> {
            let lacks = completeness.incomplete.iter().map(|one| (one.what.clone(), one.count));
            *self.lacks.lock().unwrap() = lacks.collect();
            Ok(())
        }
    }

    #[test]
    fn queued_findings_are_skipped_and_counted_when_the_end_is_near() {
        let (queue, messages) = bounded(8);
        queue.send(Message::Start(0)).unwrap();
        for _ in 0..3 {
            queue.send(Message::Finding(Arc::new(fixtures::half_used()))).unwrap();
        }
        let mut completeness = Completeness::default();
        completeness.lacks_findings("test", 5);
        let summary = Arc::new(fixtures::summary(Vec::new()));
        queue.send(Message::Summary(summary, Arc::new(completeness))).unwrap();
        let skip_from = OnceLock::from(Instant::now());
        let written = Written::default();
        write(Box::new(written.clone()), &messages, &skip_from).unwrap();
        assert_eq!(*written.findings.lock().unwrap(), 0);
        let what = "findings not written to test: its reader is too slow".to_owned();
        assert_eq!(*written.lacks.lock().unwrap(), [(what, 8)]);
    }
}
