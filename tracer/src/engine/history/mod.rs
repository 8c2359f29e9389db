//! Levels of the past: per owner, pool and destination, at three resolutions.
//!
//! | resolution | as far back as |
//! | --- | --- |
//! | 1 s | 10 min |
//! | 10 s | 2 h |
//! | 1 min | 24 h |
//!
//! Bounded: the owners, pools and destinations that hold most, or that a verdict names, have a
//! history. Which these are is decided every ten seconds. A history goes with its owner when that is
//! folded.

mod track;

use super::detector::Second;
use super::owners::OwnerIx;
use super::{Engine, SECOND_NS};
use crate::event::{OwnerId, PoolId};
use rustc_hash::FxHashMap;
use std::cmp::Reverse;
use std::net::SocketAddr;
use track::Track;

/// How often it is decided what has a history, in seconds.
const CHOOSE_EVERY: Second = 10;

/// Levels at one instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Levels {
    /// Ports held; towards a destination those in TIME_WAIT as well.
    pub held: u64,
    /// Ports acquired since tracing began; 0 of a destination, where it is not counted.
    pub acquired: u64,
    /// Ports released since tracing began; 0 of a destination.
    pub released: u64,
    /// Ports in TIME_WAIT; 0 of a destination.
    pub time_wait: u64,
}

/// Levels from an instant on, until the next point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LevelsSince {
    /// When, on the source's clock.
    pub at_ns: u64,
    /// The levels.
    pub levels: Levels,
}

/// What has a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// An owner.
    Owner(OwnerId),
    /// A pool.
    Pool(PoolId),
    /// A destination of a pool.
    Destination(PoolId, SocketAddr),
}

/// How close together the points are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// 1 s, for 10 minutes.
    Second,
    /// 10 s, for 2 hours.
    TenSeconds,
    /// 1 minute, for 24 hours.
    Minute,
}

/// A subject by index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Key {
    Owner(OwnerIx),
    Pool(PoolId),
    Destination(PoolId, SocketAddr),
}

/// The levels of one subject.
#[derive(Clone, Debug)]
struct Tracks([Track; 3]);

impl Default for Tracks {
    fn default() -> Self {
        Self([Track::new(1, 600), Track::new(10, 7_200), Track::new(60, 86_400)])
    }
}

/// All that is kept.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    tracks: FxHashMap<Key, Tracks>,
}

/// How grave or large a subject is: what is larger has a history before what is smaller.
type Rank = (bool, u64);

impl Engine {
    /// The levels of a subject, oldest first; none if it has no history. Each lasts until the next.
    #[must_use]
    pub fn history(&self, subject: &Subject, resolution: Resolution) -> Vec<LevelsSince> {
        let key = match subject {
            Subject::Owner(id) => self.owners.find(id).map(Key::Owner),
            Subject::Pool(pool) => Some(Key::Pool(*pool)),
            Subject::Destination(pool, remote) => Some(Key::Destination(*pool, *remote)),
        };
        let Some(Tracks(tracks)) = key.and_then(|key| self.history.tracks.get(&key)) else {
            return Vec::new();
        };
        let at_ns = |second: Second| self.start_ns + u64::from(second) * SECOND_NS;
        let points = tracks[resolution as usize].points().into_iter();
        points.map(|point| LevelsSince { at_ns: at_ns(point.second), levels: point.levels }).collect()
    }

    /// Keeps the levels of the second that has ended. Costs as much as there are histories; every ten
    /// seconds as much as there are owners and destinations.
    pub(super) fn record_history(&mut self, now: Second) {
        if now % CHOOSE_EVERY == 1 {
            self.choose_subjects();
        }
        let mut history = std::mem::take(&mut self.history);
        history.tracks.retain(|&key, Tracks(tracks)| {
            let levels = self.levels(key);
            if let Some(levels) = levels {
                tracks.iter_mut().for_each(|track| track.push(now, levels));
            }
            levels.is_some()
        });
        self.history = history;
    }

    /// The present levels of a subject; `None` when it is gone.
    fn levels(&self, key: Key) -> Option<Levels> {
        match key {
            Key::Owner(ix) => {
                let owner = self.owners.get(ix)?;
                let [tcp, udp] = [&owner.tcp, &owner.udp];
                Some(Levels {
                    held: owner.held(),
                    acquired: tcp.acquired() + udp.acquired(),
                    released: tcp.released() + udp.released(),
                    time_wait: tcp.time_waits() + udp.time_waits(),
                })
            }
            Key::Pool(pool) => Some(self.pools.get(&pool)?.levels()),
            Key::Destination(pool, remote) => {
                let held = self.pools.get(&pool)?.used_towards(Some(remote));
                Some(Levels { held, ..Levels::default() })
            }
        }
    }

    /// Gives those a history that have none and are larger than those that have one.
    fn choose_subjects(&mut self) {
        let owners = self.owners.iter().filter(|(_, owner)| owner.has_ports());
        let owners = owners.map(|(ix, owner)| (Key::Owner(ix), (owner.is_accused(), owner.held()))).collect();
        let pools = self.pools.iter().map(|(&id, pool)| (Key::Pool(id), (false, pool.used_towards(None))));
        let pools = pools.collect();
        let destinations = self.pools.iter().flat_map(|(&pool, state)| {
            let of = move |(remote, used)| (Key::Destination(pool, remote), (false, used));
            state.destinations().map(of)
        });
        let destinations = destinations.collect();
        let limits = &self.limits;
        for (candidates, max) in [
            (owners, limits.history_owners),
            (pools, limits.history_pools),
            (destinations, limits.history_destinations),
        ] {
            self.history.choose(candidates, max);
        }
    }
}

impl History {
    /// Keeps the largest of some candidates of one kind. One that has a history keeps it unless another
    /// is twice as large: what is busy now and then should not lose it.
    fn choose(&mut self, candidates: Vec<(Key, Rank)>, max: usize) {
        let Some(&(kind, _)) = candidates.first() else {
            return;
        };
        let has = |key: &Key| self.tracks.contains_key(key);
        let mut ranked: Vec<_> = candidates
            .into_iter()
            .map(|(key, (grave, size))| (Reverse((grave, if has(&key) { 2 * size + 1 } else { size })), key))
            .collect();
        if ranked.len() > max {
            ranked.select_nth_unstable(max);
        }
        let rest = ranked.split_off(max.min(ranked.len()));
        for (_, key) in rest {
            self.tracks.remove(&key);
        }
        debug_assert!(ranked.iter().all(|(_, key)| same_kind(*key, kind)), "one kind at a time");
        for (_, key) in ranked {
            self.tracks.entry(key).or_default();
        }
    }
}

fn same_kind(one: Key, other: Key) -> bool {
    std::mem::discriminant(&one) == std::mem::discriminant(&other)
}
