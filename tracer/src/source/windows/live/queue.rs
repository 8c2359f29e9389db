//! The queue of records from the thread on which Windows delivers them to the source.
//!
//! Windows reuses the memory of a record after its callback, so each record is copied into one byte buffer.
//! The reader swaps in an empty batch: neither side waits for the other's work.

use crate::source::windows::guid::Guid;
use crate::source::windows::record::Record;
use std::mem::{size_of, swap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Copied records in their order.
#[derive(Debug, Default)]
pub struct Batch {
    heads: Vec<Head>,
    bytes: Vec<u8>,
}

/// A record without its data.
#[derive(Clone, Copy, Debug)]
struct Head {
    time: u64,
    provider: Guid,
    pid: Option<u32>,
    tid: Option<u32>,
    id: u16,
    version: u8,
    opcode: u8,
    pointer: u8,
    /// The offsets of its extended items, of its payload, and of the end of that.
    places: [usize; 3],
}

impl Batch {
    /// Copies a record.
    pub fn push(&mut self, record: &Record<'_>) {
        let begin = self.bytes.len();
        self.bytes.extend_from_slice(record.extended);
        let payload = self.bytes.len();
        self.bytes.extend_from_slice(record.payload);
        let &Record { time, provider, id, version, opcode, pid, tid, pointer, .. } = record;
        let places = [begin, payload, self.bytes.len()];
        self.heads.push(Head { time, provider, pid, tid, id, version, opcode, pointer, places });
    }

    /// The records.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        self.heads.iter().map(|head| {
            let [begin, payload, end] = head.places;
            let &Head { time, provider, pid, tid, id, version, opcode, pointer, .. } = head;
            let data = |from, to| self.bytes.get(from..to).unwrap_or_default();
            let (extended, payload) = (data(begin, payload), data(payload, end));
            Record { time, provider, id, version, opcode, pid, tid, pointer, extended, payload }
        })
    }

    /// Its size in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.heads.len() * size_of::<Head>() + self.bytes.len()
    }

    /// Whether the batch stays within `room` bytes with one more record.
    #[must_use]
    pub fn has_room(&self, room: usize, record: &Record<'_>) -> bool {
        let more = size_of::<Head>() + record.extended.len() + record.payload.len();
        self.size().saturating_add(more) <= room
    }

    fn clear(&mut self) {
        self.heads.clear();
        self.bytes.clear();
    }
}

/// A bounded queue that counts what it drops.
#[derive(Debug)]
pub struct Queue {
    waiting: Mutex<Waiting>,
    wake: Notify,
    room: usize,
}

#[derive(Debug, Default)]
struct Waiting {
    batch: Batch,
    dropped: u64,
}

impl Queue {
    /// A queue of at most `room` bytes. The batch being read takes as many again.
    #[must_use]
    pub fn new(room: usize) -> Self {
        Self { waiting: Mutex::default(), wake: Notify::new(), room }
    }

    /// Copies a record, or counts it as dropped. Never blocks for long, never panics.
    pub fn push(&self, record: &Record<'_>) {
        let mut waiting = self.waiting();
        if !waiting.batch.has_room(self.room, record) {
            waiting.dropped += 1;
            return;
        }
        let first = waiting.batch.heads.is_empty();
        waiting.batch.push(record);
        drop(waiting);
        if first {
            self.wake();
        }
    }

    /// Moves everything queued into `batch`, and replaces its records.
    pub fn take(&self, batch: &mut Batch) {
        batch.clear();
        swap(&mut self.waiting().batch, batch);
    }

    /// How many records were dropped.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.waiting().dropped
    }

    /// Completes when records are queued, or [`wake`](Self::wake) was called.
    pub async fn ready(&self) {
        self.wake.notified().await;
    }

    /// Wakes the reader without a record.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::windows::guid::TCPIP;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    /// Whether the queue's reader would be woken.
    fn is_ready(queue: &Queue) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        pin!(queue.ready()).as_mut().poll(&mut context) == Poll::Ready(())
    }

    fn record<'a>(time: u64, extended: &'a [u8], payload: &'a [u8]) -> Record<'a> {
        Record {
            time,
            provider: TCPIP,
            id: 1191,
            version: 2,
            opcode: 3,
            pid: Some(4),
            tid: None,
            pointer: 8,
            extended,
            payload,
        }
    }

    #[test]
    fn records_come_out_as_they_went_in() {
        let queue = Queue::new(1 << 20);
        let records = [record(1, &[1, 2], &[3; 7]), record(2, &[], &[]), record(3, &[], &[9])];
        records.iter().for_each(|record| queue.push(record));
        let mut batch = Batch::default();
        queue.take(&mut batch);
        assert_eq!(batch.records().collect::<Vec<_>>(), records);
        queue.push(&records[2]);
        queue.take(&mut batch);
        assert_eq!(batch.records().collect::<Vec<_>>(), records[2..], "the old ones are gone");
        queue.take(&mut batch);
        assert_eq!(batch.records().count(), 0);
    }

    #[test]
    fn what_it_has_no_room_for_is_counted() {
        let one = record(1, &[], &[0; 100]);
        let queue = Queue::new(3 * (size_of::<Head>() + 100) + 50);
        for _ in 0..10 {
            queue.push(&one);
        }
        assert_eq!(queue.dropped(), 7);
        let mut batch = Batch::default();
        queue.take(&mut batch);
        assert_eq!(batch.records().count(), 3);
        queue.push(&one);
        queue.take(&mut batch);
        assert_eq!(batch.records().count(), 1, "there is room again");
        assert_eq!(queue.dropped(), 7);
    }

    #[test]
    fn its_reader_is_woken_once_for_many() {
        let queue = Queue::new(1 << 20);
        assert!(!is_ready(&queue));
        queue.push(&record(1, &[], &[]));
        queue.push(&record(2, &[], &[]));
        assert!(is_ready(&queue));
        assert!(!is_ready(&queue));
        queue.take(&mut Batch::default());
        assert!(!is_ready(&queue));
        queue.push(&record(3, &[], &[]));
        assert!(is_ready(&queue));
    }

    #[test]
    fn two_threads_lose_nothing() {
        let queue = Queue::new(1 << 20);
        let told = std::thread::scope(|scope| {
            let writer = scope.spawn(|| (0..10_000).for_each(|time| queue.push(&record(time, &[], &[1; 8]))));
            let (mut batch, mut told) = (Batch::default(), 0);
            while !writer.is_finished() {
                queue.take(&mut batch);
                told += batch.records().count();
            }
            queue.take(&mut batch);
            told + batch.records().count()
        });
        assert_eq!(told as u64 + queue.dropped(), 10_000);
    }
}
