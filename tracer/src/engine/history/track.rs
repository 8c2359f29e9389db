//! One series of levels at one resolution, as a queue of differences.
//!
//! Levels are kept only when they change, and each as the difference to the one before: 6 bytes a
//! point as a rule, where the numbers themselves take 40.

use super::Levels;
use std::collections::VecDeque;

/// Levels since a second of the trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Point {
    pub(super) second: u32,
    pub(super) levels: Levels,
}

/// Levels at one resolution, as far back as its span.
#[derive(Clone, Debug)]
pub(super) struct Track {
    /// Seconds between two points at least.
    step: u32,
    /// Seconds that are kept.
    span: u32,
    /// The oldest point; the others follow in `differences`, up to `closed`.
    oldest: Option<Point>,
    differences: VecDeque<u8>,
    closed: Point,
    /// The newest point, which changes as long as its step lasts.
    open: Option<Point>,
}

impl Track {
    pub(super) fn new(step: u32, span: u32) -> Self {
        Self { step, span, oldest: None, differences: VecDeque::new(), closed: Point::default(), open: None }
    }

    /// Sets the levels from `second` on.
    pub(super) fn push(&mut self, second: u32, levels: Levels) {
        match &mut self.open {
            Some(open) if open.levels == levels => return,
            Some(open) if open.second / self.step == second / self.step => open.levels = levels,
            open => {
                let before = open.replace(Point { second, levels });
                before.into_iter().for_each(|before| self.close(before));
            }
        }
        self.trim(second);
    }

    /// All points, oldest first.
    pub(super) fn points(&self) -> Vec<Point> {
        let mut points: Vec<_> = self.oldest.into_iter().collect();
        let mut bytes = self.differences.iter().copied();
        while let Some(&last) = points.last()
            && let Some(next) = after(last, &mut bytes)
        {
            points.push(next);
        }
        points.extend(self.open);
        points
    }

    fn close(&mut self, point: Point) {
        if self.oldest.is_none() {
            self.oldest = Some(point);
        } else {
            for difference in differences(&self.closed, &point) {
                put(&mut self.differences, difference);
            }
        }
        self.closed = point;
    }

    /// Drops points that ended before the span; the one that lasts into it stays.
    fn trim(&mut self, now: u32) {
        let since = now.saturating_sub(self.span);
        while let Some(oldest) = self.oldest.filter(|oldest| oldest.second < since) {
            let mut bytes = self.differences.iter().copied();
            let left = bytes.len();
            let Some(next) = after(oldest, &mut bytes).filter(|next| next.second <= since) else {
                return;
            };
            let used = left - bytes.len();
            self.differences.drain(..used);
            self.oldest = Some(next);
        }
    }
}

fn differences(before: &Point, after: &Point) -> [i64; 5] {
    let of = |before: u64, after: u64| after.wrapping_sub(before).cast_signed();
    let (old, new) = (&before.levels, &after.levels);
    [
        of(before.second.into(), after.second.into()),
        of(old.held, new.held),
        of(old.acquired, new.acquired),
        of(old.released, new.released),
        of(old.time_wait, new.time_wait),
    ]
}

fn after(before: Point, bytes: &mut impl Iterator<Item = u8>) -> Option<Point> {
    let mut next = || take(bytes).map(i64::cast_unsigned);
    let Levels { held, acquired, released, time_wait } = before.levels;
    let second = u64::from(before.second).wrapping_add(next()?);
    Some(Point {
        second: u32::try_from(second).unwrap_or(u32::MAX),
        levels: Levels {
            held: held.wrapping_add(next()?),
            acquired: acquired.wrapping_add(next()?),
            released: released.wrapping_add(next()?),
            time_wait: time_wait.wrapping_add(next()?),
        },
    })
}

/// A number in as few bytes as it needs: small ones of either sign in one.
fn put(bytes: &mut VecDeque<u8>, number: i64) {
    let mut left = ((number << 1) ^ (number >> 63)).cast_unsigned();
    while left >= 0x80 {
        bytes.push_back(left.to_le_bytes()[0] | 0x80);
        left >>= 7;
    }
    bytes.push_back(left.to_le_bytes()[0]);
}

fn take(bytes: &mut impl Iterator<Item = u8>) -> Option<i64> {
    let (mut number, mut shift) = (0_u64, 0);
    loop {
        let byte = bytes.next()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed());
        }
        shift += 7;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn levels(held: u64) -> Levels {
        Levels { held, acquired: 2 * held, released: held, time_wait: u64::MAX - held }
    }

    proptest! {
        #[test]
        fn it_keeps_the_last_levels_of_each_step(
            changes in prop::collection::vec((0u32..30, 0u64..1_000), 1..300),
            step in prop_oneof![Just(1u32), Just(10)],
        ) {
            let mut track = Track::new(step, 100_000);
            let mut model: Vec<Point> = Vec::new();
            let mut second = 0;
            for (later, held) in changes {
                second += later;
                track.push(second, levels(held));
                match model.last_mut() {
                    Some(last) if last.levels == levels(held) => {}
                    Some(last) if last.second / step == second / step => last.levels = levels(held),
                    _ => model.push(Point { second, levels: levels(held) }),
                }
            }
            prop_assert_eq!(track.points(), model);
        }
    }

    #[test]
    fn it_is_bounded_by_its_span_and_small() {
        let mut track = Track::new(1, 600);
        (0..100_000u32).for_each(|second| track.push(second, levels(u64::from(second % 100))));
        let points = track.points();
        assert_eq!((points.len(), points[0].second), (601, 99_999 - 600));
        assert!(track.differences.capacity() <= 16_384, "{}", track.differences.capacity());
        track.push(200_000, levels(1));
        track.push(300_000, levels(2));
        assert_eq!(track.points().iter().map(|point| point.second).collect::<Vec<_>>(), [200_000, 300_000]);
    }
}
