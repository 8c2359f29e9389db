//! A look at the holds behind a suspicion: whose they are, from where, and which to ask about.

use super::Engine;
use super::detector::{SAMPLE_SIZE, Window};
use super::holds::Hold;
use super::owners::OwnerIx;
use super::series_index::SeriesIx;
use super::sites::Tally;
use crate::event::{HoldId, SiteId};
use rustc_hash::FxHashMap;

/// So many processes make a leak their program's.
const PROCESSES_MIN: usize = 4;

/// Questions that wait for somebody to take them.
const QUESTIONS_MAX: usize = 16_384;

/// What a look showed of the holds that stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    /// How many processes they are of, and how many of them are the busiest one's.
    pub(super) processes: usize,
    most: u64,
    holds: u64,
    /// The call site that has most of them.
    pub(super) site: Option<SiteId>,
    /// When the oldest of them was acquired.
    pub(super) oldest_ns: u64,
}

impl Look {
    /// Whether it is the program that leaks and not one of its processes.
    pub(super) fn is_spread(&self) -> bool {
        self.processes >= PROCESSES_MIN && 2 * self.most <= self.holds
    }
}

/// What is gathered on the way.
#[derive(Debug, Default)]
struct Gathering {
    by_owner: FxHashMap<OwnerIx, u64>,
    sites: Tally,
    holds: u64,
    oldest_ns: Option<u64>,
    /// Holds to ask about: those that come first when shuffled, whatever order they were met in.
    sample: Vec<(u64, HoldId)>,
}

impl Gathering {
    fn take(&mut self, id: HoldId, hold: &Hold, window: &Window) {
        self.holds += 1;
        *self.by_owner.entry(hold.origin).or_default() += 1;
        self.sites.acquire(hold.site);
        self.oldest_ns = Some(self.oldest_ns.map_or(hold.acquired_ns, |ns| ns.min(hold.acquired_ns)));
        if !window.asks(hold.state) {
            return;
        }
        let place = (shuffled(id), id);
        let at = self.sample.partition_point(|other| *other < place);
        if at < SAMPLE_SIZE {
            self.sample.insert(at, place);
            self.sample.truncate(SAMPLE_SIZE);
        }
    }

    fn look(&self) -> Option<Look> {
        Some(Look {
            processes: self.by_owner.len(),
            most: self.by_owner.values().copied().max()?,
            holds: self.holds,
            site: self.sites.dominant(),
            oldest_ns: self.oldest_ns?,
        })
    }
}

/// An order of holds that has nothing to do with when they began (splitmix64).
fn shuffled(id: HoldId) -> u64 {
    let mixed = (id.0 ^ (id.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

impl Engine {
    /// Looks at the holds of some series that were born in a window, and asks about a few. One pass
    /// over all holds, at most once a second.
    pub(super) fn look(&mut self, series: &[(SeriesIx, Window)]) {
        if series.is_empty() {
            return;
        }
        let wanted: FxHashMap<SeriesIx, Window> = series.iter().copied().collect();
        let mut gathered: FxHashMap<SeriesIx, Gathering> = FxHashMap::default();
        for (&id, hold) in &self.holds {
            let Some(born) = hold.born else {
                continue;
            };
            for ix in hold.series.iter() {
                if let Some(window) = wanted.get(&ix)
                    && window.includes(born, hold.state, hold.state_since)
                {
                    gathered.entry(ix).or_default().take(id, hold, window);
                }
            }
        }
        if self.questions.len() > QUESTIONS_MAX {
            self.questions.clear(); // Nobody takes them.
        }
        for (ix, gathering) in gathered {
            self.questions.extend(gathering.sample.iter().map(|&(_, id)| id));
            if let Some(entry) = self.series.get_mut(ix) {
                entry.look = gathering.look();
            }
        }
    }

    /// The holds of which it would help to know for how long they have been idle; the source
    /// answers with [`EventKind::Idle`](crate::event::EventKind::Idle) if it can, soon. Sorted.
    pub fn take_questions(&mut self) -> Vec<HoldId> {
        let mut questions = std::mem::take(&mut self.questions);
        questions.sort_unstable();
        questions.dedup();
        questions
    }

    pub(super) fn answer(&mut self, at_ns: u64, id: HoldId, idle_ns: u64) {
        if let Some(hold) = self.holds.get(&id) {
            let age_ns = at_ns.saturating_sub(hold.acquired_ns);
            let seconds = |ns: u64| ns as f64 / super::SECOND_NS as f64;
            self.series.record_idle(hold, seconds(age_ns), seconds(idle_ns));
        }
    }
}
