//! Orders the model's inputs in time: the records, and the lists of sockets between them.
//!
//! Windows delivers a record up to a second after it was written, but a list of sockets at once. So a
//! list waits for the first record that is younger than the list's end. The model then knows the state
//! at that end, and also what has happened since the listing began.

use super::inquiry::SocketList;
use super::queue::Batch;
use crate::event::{Event, EventKind, LossStage};
use crate::source::windows::decoded_event;
use crate::source::windows::etl::Header;
use crate::source::windows::guid;
use crate::source::windows::model::{Model, PortByteOrder, Votes};
use crate::source::windows::record::Record;
use std::mem::take;

/// How long to wait for a bind that shows the byte order of ports, before the default is used.
const BYTE_ORDER_WAIT_NS: u64 = 1_500_000_000;
/// How long the delivery of a record may take: the session delivers its buffers each second.
const DELIVERY_NS: u64 = 2_500_000_000;

/// The stage between the session and the model.
#[derive(Debug)]
pub struct Sequencer {
    header: Header,
    model: Model,
    votes: Votes,
    /// Records kept until the byte order of ports is known.
    backlog: Option<Backlog>,
    /// A list that waits for the records from before its end.
    list: Option<SocketList>,
    /// The thread that binds sockets only to show the byte order. Its records are not applied.
    prober: Option<u32>,
    loss_records: u64,
    /// Ports were decoded in the wrong byte order.
    had_wrong_byte_order: bool,
}

#[derive(Debug)]
struct Backlog {
    batch: Batch,
    room: usize,
    dropped: u64,
    until_ns: u64,
}

impl Sequencer {
    /// Begins at `now_ns`. It keeps at most `room` bytes of records.
    #[must_use]
    pub fn new(header: Header, model: Model, prober: Option<u32>, room: usize, now_ns: u64) -> Self {
        let until_ns = now_ns.saturating_add(BYTE_ORDER_WAIT_NS);
        let backlog = Some(Backlog { batch: Batch::default(), room, dropped: 0, until_ns });
        Self {
            header,
            model,
            votes: Votes::default(),
            backlog,
            list: None,
            prober,
            loss_records: 0,
            had_wrong_byte_order: false,
        }
    }

    /// The model.
    pub fn model(&mut self) -> &mut Model {
        &mut self.model
    }

    /// Handles a record that has arrived.
    pub fn on_record(&mut self, record: &Record<'_>, now_ns: u64, events: &mut Vec<Event>) {
        if record.provider == guid::LOST_EVENT {
            self.loss_records += 1; // Used only where the session does not report its losses.
            return;
        }
        let is_probe = self.prober.is_some() && record.tid == self.prober;
        let is_first_vote = self.vote(record);
        match &mut self.backlog {
            _ if is_probe => {}
            None => self.deliver(record, now_ns, events),
            Some(Backlog { batch, room, dropped, .. }) if !batch.has_room(*room, record) => *dropped += 1,
            Some(Backlog { batch, .. }) => batch.push(record),
        }
        if is_first_vote {
            self.apply_byte_order(now_ns, events);
        }
    }

    /// Counts what a record shows of the byte order of ports. True when it decides it.
    fn vote(&mut self, record: &Record<'_>) -> bool {
        if self.votes.is_decided() {
            return false;
        }
        if let Some(Ok(event)) = decoded_event::decode(record) {
            self.votes.observe(record.tid, &event);
        }
        self.votes.is_decided()
    }

    /// The byte order is known: the backlog can be delivered.
    fn apply_byte_order(&mut self, now_ns: u64, events: &mut Vec<Event>) {
        let order = self.votes.order();
        self.had_wrong_byte_order = self.backlog.is_none() && order != PortByteOrder::default();
        self.model.set_port_byte_order(order);
        self.deliver_backlog(now_ns, events);
    }

    fn deliver_backlog(&mut self, now_ns: u64, events: &mut Vec<Event>) {
        self.prober = None;
        let Some(Backlog { batch, dropped, .. }) = self.backlog.take() else {
            return;
        };
        for record in batch.records() {
            self.deliver(&record, now_ns, events);
        }
        if dropped > 0 {
            let kind = EventKind::Lost { count: dropped, stage: LossStage::Queue };
            events.push(Event { at_ns: now_ns, kind });
        }
    }

    fn deliver(&mut self, record: &Record<'_>, now_ns: u64, events: &mut Vec<Event>) {
        let at_ns = self.header.at_ns(record.time).unwrap_or(now_ns);
        if let Some(list) = self.list.take_if(|list| list.done_ns < at_ns) {
            self.apply_list(&list, events);
        }
        self.model.apply(&self.header, at_ns, record, events);
    }

    /// Windows has listed its sockets. A list that still waits is applied at once.
    pub fn resync(&mut self, list: SocketList, events: &mut Vec<Event>) {
        if let Some(before) = self.list.replace(list) {
            self.apply_list(&before, events);
        }
    }

    fn apply_list(&mut self, list: &SocketList, events: &mut Vec<Event>) {
        self.model.resync(list.at_ns, &list.rows, events);
    }

    /// Whether a list still waits for the records before it.
    #[must_use]
    pub fn has_pending_list(&self) -> bool {
        self.list.is_some()
    }

    /// Time has passed: ends the waits that are over.
    pub fn advance(&mut self, now_ns: u64, events: &mut Vec<Event>) {
        if self.backlog.as_ref().is_some_and(|backlog| now_ns >= backlog.until_ns) {
            log::debug!("no bind has shown the byte order of ports in events 1191 to 1195");
            self.deliver_backlog(now_ns, events);
        }
        let due = |list: &mut SocketList| now_ns >= list.done_ns.saturating_add(DELIVERY_NS);
        if self.backlog.is_none()
            && let Some(list) = self.list.take_if(due)
        {
            self.apply_list(&list, events);
        }
    }

    /// Whether earlier ports turned out to be decoded in the wrong byte order, once.
    pub fn take_byte_order_error(&mut self) -> bool {
        take(&mut self.had_wrong_byte_order)
    }

    /// No more records will arrive: delivers and applies what waits.
    pub fn finish(&mut self, now_ns: u64, events: &mut Vec<Event>) {
        self.deliver_backlog(now_ns, events);
        if let Some(list) = self.list.take() {
            self.apply_list(&list, events);
        }
    }

    /// How many loss records have arrived since the last call.
    pub fn take_loss_records(&mut self) -> u64 {
        take(&mut self.loss_records)
    }
}
