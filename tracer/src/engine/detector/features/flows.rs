//! Acquisitions and releases of the last minute, second by second, and their totals.

/// How many recent seconds are kept: no rule can ask for a longer span.
pub const SECONDS: u32 = 64;
const RING: usize = SECONDS as usize;

/// Acquisitions and releases of one second.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flow {
    /// Holds that began.
    pub acquired: u16,
    /// Holds that ended or left.
    pub released: u16,
}

impl Flow {
    /// By how much the number of holds rose.
    #[must_use]
    pub fn net(self) -> i64 {
        i64::from(self.acquired) - i64::from(self.released)
    }
}

/// The last minute, and everything since the series began.
#[derive(Clone, Debug)]
pub struct Flows {
    ring: [Flow; RING],
    /// Where the present second is.
    at: usize,
    /// How many seconds the ring knows, the present one included.
    known: usize,
    /// Sums over the ring.
    recent: [u32; 2],
    acquired: u64,
    released: u64,
}

impl Default for Flows {
    fn default() -> Self {
        Self { ring: [Flow::default(); RING], at: 0, known: 1, recent: [0; 2], acquired: 0, released: 0 }
    }
}

impl Flows {
    pub(super) fn acquire(&mut self) {
        self.acquired += 1;
        let now = &mut self.ring[self.at];
        if let Some(more) = now.acquired.checked_add(1) {
            now.acquired = more;
            self.recent[0] += 1;
        }
    }

    pub(super) fn release(&mut self) {
        self.released += 1;
        let now = &mut self.ring[self.at];
        if let Some(more) = now.released.checked_add(1) {
            now.released = more;
            self.recent[1] += 1;
        }
    }

    /// The next second begins.
    pub(super) fn next(&mut self) {
        self.at = (self.at + 1) % RING;
        let oldest = std::mem::take(&mut self.ring[self.at]);
        self.recent[0] -= u32::from(oldest.acquired);
        self.recent[1] -= u32::from(oldest.released);
        self.known = (self.known + 1).min(RING);
    }

    /// So many seconds begin in which nothing happens.
    pub(super) fn skip(&mut self, seconds: u32) {
        (0..seconds.min(SECONDS)).for_each(|_| self.next());
    }

    /// The last `span` seconds that are known, the present one first.
    pub fn last(&self, span: u32) -> impl Iterator<Item = Flow> + Clone {
        (0..self.known.min(span as usize)).map(|ago| self.ring[(self.at + RING - ago) % RING])
    }

    /// Acquisitions of the last minute.
    #[must_use]
    pub fn acquired_lately(&self) -> u32 {
        self.recent[0]
    }

    /// Whether nothing moved in the last minute.
    #[must_use]
    pub fn is_still(&self) -> bool {
        self.recent == [0, 0]
    }

    /// After how many seconds without any movement it will be still.
    pub(in crate::engine) fn still_in_s(&self) -> u32 {
        let moved = |flow: &Flow| flow.acquired > 0 || flow.released > 0;
        (0..SECONDS).zip(self.last(SECONDS)).find(|(_, flow)| moved(flow)).map_or(0, |(ago, _)| SECONDS - ago)
    }

    /// Acquisitions since the series began.
    #[must_use]
    pub fn acquired(&self) -> u64 {
        self.acquired
    }

    /// Releases since the series began.
    #[must_use]
    pub fn released(&self) -> u64 {
        self.released
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_last_minute_is_known_second_by_second() {
        let mut flows = Flows::default();
        for second in 0..100_u16 {
            (0..second).for_each(|_| flows.acquire());
            flows.release();
            flows.next();
        }
        let last: Vec<u16> = flows.last(3).map(|flow| flow.acquired).collect();
        assert_eq!(last, [0, 99, 98]);
        assert_eq!(flows.acquired_lately(), (37..100).sum::<u32>());
        assert_eq!((flows.acquired(), flows.released()), ((0..100).sum(), 100));
    }

    proptest! {
        #[test]
        fn skipping_is_waiting(before in 0u32..80, seconds in 0u32..200) {
            let mut waited = Flows::default();
            for _ in 0..before {
                waited.acquire();
                waited.next();
            }
            let mut skipped = waited.clone();
            (0..seconds).for_each(|_| waited.next());
            skipped.skip(seconds);
            let seen = |flows: &Flows| flows.last(SECONDS).map(|flow| flow.acquired).collect::<Vec<_>>();
            prop_assert_eq!(seen(&waited), seen(&skipped));
            prop_assert_eq!(waited.is_still(), skipped.is_still());
        }
    }
}
