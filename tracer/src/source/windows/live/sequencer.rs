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
    listing: Option<SocketList>,
    /// The thread that binds sockets for no other reason than to be heard.
    prober: Option<u32>,
    loss_records: u64,
    /// Ports were read in the wrong order.
    mistaken: bool,
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
            listing: None,
            prober,
            loss_records: 0,
            mistaken: false,
        }
    }

    /// The model.
    pub fn model(&mut self) -> &mut Model {
        &mut self.model
    }

    /// A record came in.
    pub fn hear(&mut self, record: &Record<'_>, now_ns: u64, events: &mut Vec<Event>) {
        if record.provider == guid::LOST_EVENT {
            self.loss_records += 1; // The session counts what it lost, and that is asked.
            return;
        }
        let is_probe = self.prober.is_some() && record.tid == self.prober;
        let is_first_vote = self.vote(record);
        match &mut self.backlog {
            _ if is_probe => {}
            None => self.tell(record, now_ns, events),
            Some(Backlog { batch, room, dropped, .. }) if !batch.has_room(*room, record) => *dropped += 1,
            Some(Backlog { batch, .. }) => batch.push(record),
        }
        if is_first_vote {
            self.settle(now_ns, events);
        }
    }

    /// Takes in what a record says of the order of a port's bytes. True when it is the first to.
    fn vote(&mut self, record: &Record<'_>) -> bool {
        if self.votes.are_in() {
            return false;
        }
        if let Some(Ok(fact)) = decoded_event::decode(record) {
            self.votes.hear(record.tid, &fact);
        }
        self.votes.are_in()
    }

    /// The order is known: what has waited for it is told.
    fn settle(&mut self, now_ns: u64, events: &mut Vec<Event>) {
        let order = self.votes.order();
        self.mistaken = self.backlog.is_none() && order != PortByteOrder::default();
        self.model.set_port_byte_order(order);
        self.release(now_ns, events);
    }

    fn release(&mut self, now_ns: u64, events: &mut Vec<Event>) {
        self.prober = None;
        let Some(Backlog { batch, dropped, .. }) = self.backlog.take() else {
            return;
        };
        for record in batch.records() {
            self.tell(&record, now_ns, events);
        }
        if dropped > 0 {
            let kind = EventKind::Lost { count: dropped, stage: LossStage::Queue };
            events.push(Event { at_ns: now_ns, kind });
        }
    }

    fn tell(&mut self, record: &Record<'_>, now_ns: u64, events: &mut Vec<Event>) {
        let at_ns = self.header.at_ns(record.time).unwrap_or(now_ns);
        if let Some(listing) = self.listing.take_if(|listing| listing.done_ns < at_ns) {
            self.compare(&listing, events);
        }
        self.model.tell(&self.header, at_ns, record, events);
    }

    /// Windows has listed its sockets. A listing that still waits is told at once.
    pub fn list(&mut self, listing: SocketList, events: &mut Vec<Event>) {
        if let Some(before) = self.listing.replace(listing) {
            self.compare(&before, events);
        }
    }

    fn compare(&mut self, listing: &SocketList, events: &mut Vec<Event>) {
        self.model.list(listing.at_ns, &listing.rows, events);
    }

    /// Whether a listing still waits for the records before it.
    #[must_use]
    pub fn is_comparing(&self) -> bool {
        self.listing.is_some()
    }

    /// Time has passed: what was waited for comes no more.
    pub fn advance(&mut self, now_ns: u64, events: &mut Vec<Event>) {
        if self.backlog.as_ref().is_some_and(|backlog| now_ns >= backlog.until_ns) {
            log::debug!("no port was bound that shows how events 1191 to 1195 write it");
            self.release(now_ns, events);
        }
        let due = |listing: &mut SocketList| now_ns >= listing.done_ns.saturating_add(DELIVERY_NS);
        if self.backlog.is_none()
            && let Some(listing) = self.listing.take_if(due)
        {
            self.compare(&listing, events);
        }
    }

    /// Whether it has turned out that what was told so far is wrong.
    pub fn take_mistake(&mut self) -> bool {
        take(&mut self.mistaken)
    }

    /// Nothing more comes.
    pub fn end(&mut self, now_ns: u64, events: &mut Vec<Event>) {
        self.release(now_ns, events);
        if let Some(listing) = self.listing.take() {
            self.compare(&listing, events);
        }
    }

    /// How many records came since the last call that told of a loss.
    pub fn take_loss_records(&mut self) -> u64 {
        take(&mut self.loss_records)
    }
}
