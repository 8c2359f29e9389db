//! The live source: reads the session's records, resyncs with what Windows lists, counts the losses.
//!
//! Nothing in here blocks: what may take long is an [`Inquiry`], and its answer arrives later. All
//! access to Windows is behind [`System`], so the decisions are tested without Windows.

use super::inquiry::{Answer, Inquiry, Settings, SocketList};
use super::sequencer::Sequencer;
use crate::event::{Capture, Event, EventKind, LossStage};
use crate::source::windows::etl::Header;
use crate::source::windows::model::{Background, Model};
use crate::source::windows::record::Record;
use crate::source::{Source, SourceError};
use std::time::Duration;

/// How often the session is asked for its losses.
const LOSSES_EVERY_NS: u64 = 1_000_000_000;
/// How often the sockets are listed, to find what no record has reported.
const LIST_EVERY_NS: u64 = 60_000_000_000;
/// The shortest time between two lists after losses.
const LIST_AGAIN_NS: u64 = 5_000_000_000;
/// The shortest time between two lists of drivers, requested when an address lies in no known driver.
const DRIVERS_EVERY_NS: u64 = 10_000_000_000;
/// How often the settings are read: reading them starts programs.
const SETTINGS_EVERY_NS: u64 = 300_000_000_000;
/// How long the end of a trace waits for its last list of sockets.
const LAST_LIST_MAX: Duration = Duration::from_secs(1);

/// What a source needs of Windows. Only [`wait`](Self::wait) and [`stop`](Self::stop) may block, and
/// both have a time limit.
pub trait System {
    /// Passes each record that has arrived to `visit`, in order.
    ///
    /// # Errors
    /// When another program has ended the session.
    fn read(&mut self, visit: &mut dyn FnMut(&Record<'_>)) -> Result<(), SourceError>;

    /// Completes when records have arrived.
    fn ready(&mut self) -> impl Future<Output = ()>;

    /// Now, in nanoseconds since boot, on a monotonic clock.
    fn now_ns(&self) -> u64;

    /// How many records were dropped because the queue was full.
    fn dropped(&self) -> u64;

    /// Starts an inquiry. False when too many are pending.
    fn request(&mut self, inquiry: Inquiry) -> bool;

    /// The next answer, if one has arrived. An inquiry that missed its deadline is an error.
    fn poll(&mut self, now_ns: u64) -> Option<Result<Answer, SourceError>>;

    /// Waits for the pending inquiries, but no longer than `timeout`.
    fn wait(&mut self, timeout: Duration);

    /// Ends the session. The records that it still held can then be [`read`](Self::read). Returns the
    /// events and buffers that it lost; `None` when Windows does not report them.
    fn stop(&mut self) -> Option<u64>;
}

/// What is known when the trace begins.
#[derive(Debug)]
pub struct Start {
    /// How to convert the session's times.
    pub header: Header,
    /// What is known of the machine.
    pub background: Background,
    /// What the trace can see.
    pub capture: Capture,
    /// The sockets that were open before.
    pub list: Option<SocketList>,
    /// The thread that binds sockets to show the byte order of ports.
    pub prober: Option<u32>,
    /// How many bytes of records may be kept until the byte order is known.
    pub room: usize,
}

/// The live source of a session.
#[derive(Debug)]
pub struct SessionSource<S> {
    system: S,
    capture: Capture,
    began_ns: u64,
    sequencer: Sequencer,
    /// Events and buffers lost, as emitted so far.
    lost_etw: u64,
    /// Records dropped at the queue, as emitted so far.
    lost_queue: u64,
    losses_due_ns: u64,
    list_due_ns: u64,
    /// When the last list was requested, and whether its answer is pending.
    listed_ns: u64,
    is_listing: bool,
    drivers_due_ns: u64,
    settings_due_ns: u64,
    /// A failed inquiry has been logged.
    has_warned: bool,
}

impl<S: System> SessionSource<S> {
    /// The source of a session that has begun.
    #[must_use]
    pub fn new(system: S, start: Start) -> Self {
        let now_ns = system.now_ns();
        let Start { header, background, capture, list, prober, room } = start;
        let began_ns = header.start_ns();
        let model = Model::new(&header, &background);
        let mut sequencer = Sequencer::new(header, model, prober, room, now_ns);
        if let Some(list) = list {
            sequencer.resync(list, &mut Vec::new());
        }
        Self {
            system,
            capture,
            began_ns,
            sequencer,
            lost_etw: 0,
            lost_queue: 0,
            losses_due_ns: now_ns + LOSSES_EVERY_NS,
            list_due_ns: now_ns + LIST_EVERY_NS,
            listed_ns: now_ns,
            is_listing: false,
            drivers_due_ns: now_ns + DRIVERS_EVERY_NS,
            settings_due_ns: now_ns + SETTINGS_EVERY_NS,
            has_warned: false,
        }
    }

    fn read(&mut self, now_ns: u64, events: &mut Vec<Event>) -> Result<(), SourceError> {
        let Self { system, sequencer, .. } = self;
        system.read(&mut |record| sequencer.on_record(record, now_ns, events))
    }

    /// Starts the inquiries that are due.
    fn request_due(&mut self, now_ns: u64) {
        if now_ns >= self.losses_due_ns {
            self.losses_due_ns = now_ns + LOSSES_EVERY_NS;
            self.request(Inquiry::Losses);
        }
        if now_ns >= self.list_due_ns && !self.is_listing && !self.sequencer.has_pending_list() {
            self.request_list(now_ns);
        }
        if now_ns >= self.drivers_due_ns && self.sequencer.model().take_unknown_addresses() {
            self.drivers_due_ns = now_ns + DRIVERS_EVERY_NS;
            self.request(Inquiry::Drivers);
        }
        if now_ns >= self.settings_due_ns {
            self.settings_due_ns = now_ns + SETTINGS_EVERY_NS;
            self.request(Inquiry::Settings);
        }
    }

    fn request_list(&mut self, now_ns: u64) {
        (self.listed_ns, self.list_due_ns) = (now_ns, now_ns + LIST_EVERY_NS);
        self.is_listing = self.request(Inquiry::Sockets);
    }

    fn request(&mut self, inquiry: Inquiry) -> bool {
        let is_accepted = self.system.request(inquiry);
        if !is_accepted {
            self.warn_once(&format!("too many inquiries hang to ask for {inquiry}"));
        }
        is_accepted
    }

    fn handle_answers(&mut self, now_ns: u64, events: &mut Vec<Event>) {
        while let Some(answer) = self.system.poll(now_ns) {
            match answer {
                Ok(Answer::Losses(etw)) => self.emit_losses(now_ns, etw, events),
                Ok(Answer::Sockets(list)) => {
                    self.is_listing = false;
                    self.sequencer.resync(list, events);
                }
                Ok(Answer::Drivers(drivers)) => self.sequencer.model().set_drivers(drivers),
                Ok(Answer::Settings(settings)) => self.set_settings(now_ns, &settings, events),
                Err(error) => {
                    // Which inquiry failed does not matter: a list is requested again when it is due.
                    self.is_listing = false;
                    self.warn_once(&error.to_string());
                }
            }
        }
    }

    /// Emits what was lost since the last time. A loss makes the next list due soon.
    fn emit_losses(&mut self, now_ns: u64, etw: Option<u64>, events: &mut Vec<Event>) {
        // Where Windows does not report the sum, its loss records are counted.
        let records = self.sequencer.take_loss_records();
        let etw = etw.unwrap_or(self.lost_etw + records);
        let queue = self.system.dropped();
        for (count, stage) in [
            (etw.saturating_sub(self.lost_etw), LossStage::Etw),
            (queue.saturating_sub(self.lost_queue), LossStage::Queue),
        ] {
            if count > 0 {
                events.push(Event { at_ns: now_ns, kind: EventKind::Lost { count, stage } });
                self.list_soon();
            }
        }
        (self.lost_etw, self.lost_queue) = (etw.max(self.lost_etw), queue);
    }

    fn list_soon(&mut self) {
        self.list_due_ns = self.list_due_ns.min(self.listed_ns + LIST_AGAIN_NS);
    }

    fn set_settings(&mut self, now_ns: u64, settings: &Settings, events: &mut Vec<Event>) {
        let model = self.sequencer.model();
        model.set_ranges(now_ns, &settings.ranges.pools, events);
        if let Some(services) = &settings.services {
            model.set_services(now_ns, services, events);
        }
    }

    /// Logs the first failed inquiry only: a trace may last a year.
    fn warn_once(&mut self, error: &str) {
        if !self.has_warned {
            self.has_warned = true;
            log::warn!("the trace cannot be compared with what Windows lists: {error}");
        }
    }
}

impl<S: System> Source for SessionSource<S> {
    fn capture(&self) -> &Capture {
        &self.capture
    }

    fn now_ns(&self) -> u64 {
        self.system.now_ns()
    }

    /// The session's start: records written during the first lists are emitted as well.
    fn began_ns(&self) -> u64 {
        self.began_ns
    }

    async fn ready(&mut self) {
        self.system.ready().await;
    }

    fn drain(&mut self, events: &mut Vec<Event>) -> Result<(), SourceError> {
        let now_ns = self.system.now_ns();
        self.read(now_ns, events)?;
        self.sequencer.advance(now_ns, events);
        if self.sequencer.take_byte_order_error() {
            self.list_soon();
        }
        self.request_due(now_ns);
        self.handle_answers(now_ns, events);
        Ok(())
    }

    fn stop(&mut self, events: &mut Vec<Event>) -> Result<(), SourceError> {
        let lost = self.system.stop();
        let now_ns = self.system.now_ns();
        let read = self.read(now_ns, events);
        self.sequencer.finish(now_ns, events);
        self.emit_losses(now_ns, lost, events);
        let is_due = self.list_due_ns < self.listed_ns + LIST_EVERY_NS;
        if is_due {
            // Something was lost since the last list: holds whose release was lost must end.
            self.request_list(now_ns);
        }
        if is_due || self.is_listing {
            self.system.wait(LAST_LIST_MAX);
            self.handle_answers(now_ns, events);
            self.sequencer.finish(now_ns, events);
        }
        read
    }
}

#[cfg(test)]
mod tests;
