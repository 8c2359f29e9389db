//! The source: follows a session, asks Windows for what it lists, and tells what was lost.
//!
//! What Windows itself does is behind [`System`], so all that is decided here is tested without it.

use super::sequencer::{Sequencer, SocketList};
use crate::event::{Capture, Event, EventKind, LossStage, PoolId, PortRange};
use crate::source::windows::decoded_event::Service;
use crate::source::windows::etl::Header;
use crate::source::windows::inventory::Row;
use crate::source::windows::model::{Background, Drivers, Model};
use crate::source::windows::record::Record;
use crate::source::{Source, SourceError};
use std::collections::BTreeMap;

/// How often the session is asked what it lost.
const LOSSES_EVERY_NS: u64 = 1_000_000_000;
/// How often the sockets are listed, to find what no record has said.
const LIST_EVERY_NS: u64 = 60_000_000_000;
/// How often at most, after losses.
const LIST_AGAIN_NS: u64 = 5_000_000_000;
/// How often at most the drivers are listed, when an address lies in none of them.
const DRIVERS_EVERY_NS: u64 = 10_000_000_000;

/// How often it is asked for settings: their ranges are had by starting programs.
const SETTINGS_EVERY_NS: u64 = 300_000_000_000;

/// What a source needs of Windows.
pub trait System {
    /// Hands over the records that have come in.
    ///
    /// # Errors
    /// When somebody else has ended the session.
    fn take(&mut self, visit: &mut dyn FnMut(&Record<'_>)) -> Result<(), SourceError>;

    /// Completes when records have come in.
    fn ready(&mut self) -> impl Future<Output = ()>;

    /// Now, in nanoseconds since boot, on a clock that nobody sets.
    fn now_ns(&self) -> u64;

    /// What was lost since the session began.
    fn losses(&mut self) -> Losses;

    /// Has the session deliver what its buffers hold.
    fn flush(&mut self);

    /// Resync the sockets of this instant.
    ///
    /// # Errors
    /// When Windows does not.
    fn sockets(&mut self) -> Result<Vec<Row>, SourceError>;

    /// Resync the kernel's images.
    ///
    /// # Errors
    /// When Windows does not.
    fn drivers(&mut self) -> Result<Drivers, SourceError>;

    /// Begins to ask for what may change while a trace lasts.
    fn ask_settings(&mut self);

    /// What came of that, once.
    fn take_settings(&mut self) -> Option<Settings>;

    /// Ends the session. What it had written is there to [`take`](Self::take).
    fn stop(&mut self);
}

/// What may change while a trace lasts, and no record tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The services and their processes; `None` when they could not be listed.
    pub services: Option<Vec<Service>>,
    /// The pools whose range is known.
    pub ranges: BTreeMap<PoolId, PortRange>,
}

/// What was lost since a session began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Events and buffers of the session; `None` when Windows does not say.
    pub etw: Option<u64>,
    /// Records that came in faster than they were taken.
    pub queue: u64,
}

/// What is known at the start.
#[derive(Debug)]
pub struct Start {
    /// How to read the session's times.
    pub header: Header,
    /// What is known of the machine.
    pub background: Background,
    /// What can be seen.
    pub capture: Capture,
    /// The sockets that were there.
    pub list: Option<SocketList>,
    /// The thread that binds sockets to show how a port is written.
    pub prober: Option<u32>,
    /// How many bytes of records may be kept until that is known.
    pub room: usize,
}

/// A session that is followed.
#[derive(Debug)]
pub struct SessionSource<S> {
    system: S,
    capture: Capture,
    began_ns: u64,
    sequencer: Sequencer,
    losses: Losses,
    losses_due_ns: u64,
    list_due_ns: u64,
    listed_ns: u64,
    drivers_due_ns: u64,
    settings_due_ns: u64,
    /// Windows has refused a list, which has been said.
    has_warned: bool,
}

impl<S: System> SessionSource<S> {
    /// Follows a session that has begun.
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
            losses: Losses { etw: Some(0), queue: 0 },
            losses_due_ns: now_ns + LOSSES_EVERY_NS,
            list_due_ns: now_ns + LIST_EVERY_NS,
            listed_ns: now_ns,
            drivers_due_ns: now_ns + DRIVERS_EVERY_NS,
            settings_due_ns: now_ns + SETTINGS_EVERY_NS,
            has_warned: false,
        }
    }

    fn take(&mut self, now_ns: u64, events: &mut Vec<Event>) -> Result<(), SourceError> {
        let Self { system, sequencer, .. } = self;
        system.take(&mut |record| sequencer.on_record(record, now_ns, events))
    }

    /// Tells what was lost since the last time, and has the sockets listed soon if anything was.
    fn emit_losses(&mut self, now_ns: u64, events: &mut Vec<Event>) {
        self.losses_due_ns = now_ns + LOSSES_EVERY_NS;
        let now = self.system.losses();
        let records = self.sequencer.take_loss_records();
        let now = Losses { etw: now.etw.or(self.losses.etw.map(|told| told + records)), ..now };
        let since = |now: Option<u64>, told: Option<u64>| now.unwrap_or(0).saturating_sub(told.unwrap_or(0));
        let etw = since(now.etw, self.losses.etw);
        let queue = now.queue.saturating_sub(self.losses.queue);
        self.losses = now;
        for (count, stage) in [(etw, LossStage::Etw), (queue, LossStage::Queue)] {
            if count > 0 {
                events.push(Event { at_ns: now_ns, kind: EventKind::Lost { count, stage } });
                self.list_soon();
            }
        }
    }

    fn list_soon(&mut self) {
        self.list_due_ns = self.list_due_ns.min(self.listed_ns + LIST_AGAIN_NS);
    }

    /// Has Windows list its sockets, and deliver the records from before, with which they agree.
    fn list(&mut self, now_ns: u64, events: &mut Vec<Event>) {
        (self.listed_ns, self.list_due_ns) = (now_ns, now_ns + LIST_EVERY_NS);
        match self.system.sockets() {
            Ok(rows) => {
                let done_ns = self.system.now_ns();
                self.sequencer.resync(SocketList { at_ns: now_ns, done_ns, rows }, events);
            }
            Err(error) => self.warn_once(&error),
        }
        self.system.flush();
    }

    fn list_drivers(&mut self, now_ns: u64) {
        if now_ns < self.drivers_due_ns || !self.sequencer.model().take_unknown_addresses() {
            return;
        }
        self.drivers_due_ns = now_ns + DRIVERS_EVERY_NS;
        match self.system.drivers() {
            Ok(drivers) => self.sequencer.model().set_drivers(drivers),
            Err(error) => self.warn_once(&error),
        }
    }

    fn follow_settings(&mut self, now_ns: u64, events: &mut Vec<Event>) {
        if now_ns >= self.settings_due_ns {
            self.settings_due_ns = now_ns + SETTINGS_EVERY_NS;
            self.system.ask_settings();
        }
        let Some(Settings { services, ranges }) = self.system.take_settings() else {
            return;
        };
        let model = self.sequencer.model();
        model.set_ranges(now_ns, &ranges, events);
        if let Some(services) = services {
            model.set_services(now_ns, &services, events);
        }
    }

    /// Once: a trace may last a year.
    fn warn_once(&mut self, error: &SourceError) {
        if !self.has_warned {
            self.has_warned = true;
            log::warn!("what was traced can no longer be compared with what Windows lists: {error}");
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

    /// What was written while Windows was asked for what is there is told as well.
    fn began_ns(&self) -> u64 {
        self.began_ns
    }

    async fn ready(&mut self) {
        self.system.ready().await;
    }

    fn drain(&mut self, events: &mut Vec<Event>) -> Result<(), SourceError> {
        let now_ns = self.system.now_ns();
        self.take(now_ns, events)?;
        self.sequencer.advance(now_ns, events);
        if self.sequencer.take_byte_order_error() {
            self.list_soon();
        }
        if now_ns >= self.losses_due_ns {
            self.emit_losses(now_ns, events);
        }
        if now_ns >= self.list_due_ns && !self.sequencer.has_pending_list() {
            self.list(now_ns, events);
        }
        self.list_drivers(now_ns);
        self.follow_settings(now_ns, events);
        Ok(())
    }

    fn stop(&mut self, events: &mut Vec<Event>) -> Result<(), SourceError> {
        self.system.stop();
        let now_ns = self.system.now_ns();
        let taken = self.take(now_ns, events);
        self.sequencer.finish(now_ns, events);
        self.emit_losses(now_ns, events);
        if self.list_due_ns < self.listed_ns + LIST_EVERY_NS {
            // Something was lost since the last list: what is left of it must not stay.
            self.list(now_ns, events);
            self.sequencer.finish(now_ns, events);
        }
        taken
    }
}

#[cfg(test)]
mod tests;
