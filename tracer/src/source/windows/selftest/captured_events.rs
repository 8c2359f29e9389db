//! The events captured while the scenario runs.

use crate::source::windows::decoded_event::{self, DecodedEvent};
use crate::source::windows::guid;
use crate::source::windows::live::providers::AFD_LEGACY;
use crate::source::windows::record::Record;

/// More records than a busy machine writes during a scenario of a few seconds.
const EVENTS_MAX: usize = 1 << 19;
/// The bytes of an event's header (`EVENT_HEADER`, evntcons.h).
const HEADER_BYTES: u64 = 80;

/// One decoded record of TCPIP or AFD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CapturedEvent {
    /// When, as FILETIME.
    pub(super) at: u64,
    pub(super) id: u16,
    /// The process and thread on which it was written.
    pub(super) pid: u32,
    pub(super) tid: Option<u32>,
    /// Its size in bytes, header included.
    pub(super) bytes: u64,
    /// The number of frames of its stack, and how many of them are kernel addresses.
    pub(super) frames: (usize, usize),
    pub(super) decoded: DecodedEvent,
}

/// The captured events, and counts of those that are not kept.
#[derive(Clone, Debug, Default)]
pub struct CapturedEvents {
    pub(super) events: Vec<CapturedEvent>,
    /// AFD records with a legacy id (1 to 41).
    pub(super) legacy: u64,
    /// Losses that the session reported.
    pub(super) losses: u64,
    /// Records that could not be decoded.
    pub(super) unreadable: u64,
    /// Records beyond the limit.
    pub(super) beyond: u64,
}

impl CapturedEvents {
    /// Adds a record.
    pub fn observe(&mut self, record: &Record<'_>) {
        self.legacy += u64::from(record.provider == guid::AFD && AFD_LEGACY.contains(&record.id));
        let decoded = match decoded_event::decode(record) {
            Some(Ok(decoded @ (DecodedEvent::Tcpip(_) | DecodedEvent::Afd(_)))) => decoded,
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
        if self.events.len() >= EVENTS_MAX {
            self.beyond += 1;
            return;
        }
        let stack = || record.stack();
        self.events.push(CapturedEvent {
            at: record.time,
            id: record.id,
            pid: record.pid.unwrap_or(0),
            tid: record.tid,
            bytes: HEADER_BYTES + record.extended.len() as u64 + record.payload.len() as u64,
            frames: (stack().count(), stack().filter(|address| address >> 63 == 1).count()),
            decoded,
        });
    }
}
