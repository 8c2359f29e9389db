//! What is kept of the tracing while the walk is examined.

use crate::source::windows::decoded_event::{self, DecodedEvent};
use crate::source::windows::guid;
use crate::source::windows::live::providers::AFD_OF_OLD;
use crate::source::windows::record::Record;

/// More records than a walk of a few seconds makes on a busy machine.
const KEPT_MAX: usize = 1 << 19;
/// The bytes of an event's header (`EVENT_HEADER`, evntcons.h).
const HEADER_BYTES: u64 = 80;

/// One record of the two providers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CapturedEvent {
    /// When, as FILETIME.
    pub(super) at: u64,
    pub(super) id: u16,
    /// The process and thread on which it was written.
    pub(super) pid: u32,
    pub(super) tid: Option<u32>,
    /// How many bytes it took.
    pub(super) bytes: u64,
    /// The frames of its stack: how many, and how many of them are the kernel's.
    pub(super) frames: (usize, usize),
    pub(super) fact: DecodedEvent,
}

/// What the tracing said.
#[derive(Clone, Debug, Default)]
pub struct CapturedEvents {
    pub(super) said: Vec<CapturedEvent>,
    /// Records of AFD with an id of old.
    pub(super) of_old: u64,
    /// Losses that the session told.
    pub(super) losses: u64,
    /// Records that could not be read.
    pub(super) unreadable: u64,
    /// Records beyond what is kept.
    pub(super) beyond: u64,
}

impl CapturedEvents {
    /// Takes in a record.
    pub fn hear(&mut self, record: &Record<'_>) {
        self.of_old += u64::from(record.provider == guid::AFD && AFD_OF_OLD.contains(&record.id));
        let fact = match decoded_event::decode(record) {
            Some(Ok(fact @ (DecodedEvent::Tcpip(_) | DecodedEvent::Afd(_)))) => fact,
            Some(Ok(DecodedEvent::Lost { count })) => {
                self.losses += count;
                return;
            }
            Some(Err(_)) => {
                self.unreadable += 1;
                return;
            }
            _ => return,
        };
        if self.said.len() >= KEPT_MAX {
            self.beyond += 1;
            return;
        }
        let stack = || record.stack();
        self.said.push(CapturedEvent {
            at: record.time,
            id: record.id,
            pid: record.pid.unwrap_or(0),
            tid: record.tid,
            bytes: HEADER_BYTES + record.extended.len() as u64 + record.payload.len() as u64,
            frames: (stack().count(), stack().filter(|address| address >> 63 == 1).count()),
            fact,
        });
    }
}
