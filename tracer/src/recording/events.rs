//! The content of a block of events.

use super::field::{Decoder, Encoder, FIRST_TIMED, Undecodable, take_number};
use super::tables::Tables;
use crate::event::{Event, EventKind};

/// Tag of a time mark: the engine advanced to this instant.
const MARK: u8 = FIRST_TIMED;

impl Encoder {
    /// Appends an event.
    pub(super) fn event(&mut self, event: &Event) {
        self.timed(event.kind.tag(), event.at_ns, |to| event.kind.put(to));
    }

    /// Appends a time mark.
    pub(super) fn mark(&mut self, now_ns: u64) {
        self.timed(MARK, now_ns, |_| ());
    }
}

/// One item of a block.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// An event.
    Event(Event),
    /// An event of a kind that this version does not know.
    Unknown,
    /// The engine advanced to this instant.
    Mark(u64),
}

/// Decodes a block of events.
#[derive(Debug, Default)]
pub(super) struct Block {
    content: Vec<u8>,
    at: usize,
    tables: Tables,
    before_ns: u64,
}

impl Block {
    /// Begins a block: the caller fills the content. The rest of the block before is dropped.
    pub(super) fn begin(&mut self) -> &mut Vec<u8> {
        self.at = 0;
        self.tables.clear();
        self.before_ns = 0;
        self.content.clear();
        &mut self.content
    }

    /// The next item.
    pub(super) fn next(&mut self) -> Result<Option<Item>, Undecodable> {
        while let Some((tag, start, end)) = self.record()? {
            if tag < FIRST_TIMED {
                self.tables.define(tag, &self.content[start..end])?;
                continue;
            }
            let mut record = Decoder::new(&self.content[start..end], &self.tables);
            self.before_ns = record.distance(self.before_ns)?;
            let at_ns = self.before_ns;
            if tag == MARK {
                return Ok(Some(Item::Mark(at_ns)));
            }
            return match EventKind::take(tag, &mut record) {
                Ok(kind) => Ok(Some(Item::Event(Event { at_ns, kind }))),
                Err(Undecodable::Unknown) => Ok(Some(Item::Unknown)),
                Err(broken) => Err(broken),
            };
        }
        Ok(None)
    }

    /// The next record's tag, and where its payload begins and ends.
    fn record(&mut self) -> Result<Option<(u8, usize, usize)>, Undecodable> {
        let mut left = &self.content[self.at..];
        if left.is_empty() {
            return Ok(None);
        }
        let len = usize::try_from(take_number(&mut left)?).map_err(|_| Undecodable::Broken)?;
        let (&tag, payload) = left.split_first().ok_or(Undecodable::Broken)?;
        let start = self.content.len() - payload.len();
        let end = start.checked_add(len).filter(|end| *end <= self.content.len());
        let end = end.ok_or(Undecodable::Broken)?;
        self.at = end;
        Ok(Some((tag, start, end)))
    }
}
