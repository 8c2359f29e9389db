//! Tells the model what comes in, each at its instant: records, and what Windows listed between them.
//!
//! Records are delivered up to a second after they were written, a listing is there at once: so it waits
//! for the first record that is younger than its end. What the model then knows is what was at the
//! listing's end, and it can tell what has happened since its beginning.

use super::queue::Batch;
use crate::event::{Event, EventKind, LossStage};
use crate::source::windows::decoded_event;
use crate::source::windows::etl::Header;
use crate::source::windows::guid;
use crate::source::windows::inventory::Row;
use crate::source::windows::model::{Model, PortByteOrder, Votes};
use crate::source::windows::record::Record;
use std::mem::take;

/// How long to wait for a port that was written both ways, before one order is taken to be right.
const ORDER_WAIT_NS: u64 = 1_500_000_000;
/// How long a record may be on its way: the session's buffers are delivered each second.
const DELIVERY_NS: u64 = 2_500_000_000;

/// The sockets that Windows listed.
#[derive(Debug)]
pub struct SocketList {
    /// When it began.
    pub at_ns: u64,
    /// When it was done.
    pub done_ns: u64,
    /// They.
    pub rows: Vec<Row>,
}

/// What is between the session and the model.
#[derive(Debug)]
pub struct Sequencer {
    header: Header,
    model: Model,
    votes: Votes,
    /// Records from before the order of a port's bytes was known.
    backlog: Option<Backlog>,
    list: Option<SocketList>,
    /// The thread that binds sockets for no other reason than to be heard.
    prober: Option<u32>,
    loss_records: u64,
    /// Ports were read in the wrong order.
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
    /// Begins at `now_ns`. `room` is how many bytes of records it may keep.
    #[must_use]
    pub fn new(header: Header, model: Model, prober: Option<u32>, room: usize, now_ns: u64) -> Self {
        let until_ns = now_ns.saturating_add(ORDER_WAIT_NS);
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

    /// A record came in.
    pub fn on_record(&mut self, record: &Record<'_>, now_ns: u64, events: &mut Vec<Event>) {
        if record.provider == guid::LOST_EVENT {
            self.loss_records += 1; // The session counts what it lost, and that is asked.
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

    /// Takes in what a record says of the order of a port's bytes. True when it is the first to.
    fn vote(&mut self, record: &Record<'_>) -> bool {
        if self.votes.is_decided() {
            return false;
        }
        if let Some(Ok(event)) = decoded_event::decode(record) {
            self.votes.observe(record.tid, &event);
        }
        self.votes.is_decided()
    }

    /// The order is known: what has waited for it is told.
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

    /// Windows has listed its sockets. A listing that still waits is told at once.
    pub fn resync(&mut self, list: SocketList, events: &mut Vec<Event>) {
        if let Some(before) = self.list.replace(list) {
            self.apply_list(&before, events);
        }
    }

    fn apply_list(&mut self, list: &SocketList, events: &mut Vec<Event>) {
        self.model.resync(list.at_ns, &list.rows, events);
    }

    /// Whether a listing still waits for the records before it.
    #[must_use]
    pub fn has_pending_list(&self) -> bool {
        self.list.is_some()
    }

    /// Time has passed: what was waited for comes no more.
    pub fn advance(&mut self, now_ns: u64, events: &mut Vec<Event>) {
        if self.backlog.as_ref().is_some_and(|backlog| now_ns >= backlog.until_ns) {
            log::debug!("no port was bound that shows how events 1191 to 1195 write it");
            self.deliver_backlog(now_ns, events);
        }
        let due = |list: &mut SocketList| now_ns >= list.done_ns.saturating_add(DELIVERY_NS);
        if self.backlog.is_none()
            && let Some(list) = self.list.take_if(due)
        {
            self.apply_list(&list, events);
        }
    }

    /// Whether it has turned out that what was told so far is wrong.
    pub fn take_byte_order_error(&mut self) -> bool {
        take(&mut self.had_wrong_byte_order)
    }

    /// Nothing more comes.
    pub fn finish(&mut self, now_ns: u64, events: &mut Vec<Event>) {
        self.deliver_backlog(now_ns, events);
        if let Some(list) = self.list.take() {
            self.apply_list(&list, events);
        }
    }

    /// How many records came since the last call that told of a loss.
    pub fn take_loss_records(&mut self) -> u64 {
        take(&mut self.loss_records)
    }
}
