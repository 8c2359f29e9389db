//! What is measured of a series: no thresholds, no verdicts.
//!
//! A policy reads features and judges. Features of a series in which nothing happens need no work
//! each second: `Features::live_until` catches up any number of seconds at once, with exactly the
//! numbers that one second after the other would have produced.

mod age_histogram;
mod flows;
mod idle_samples;
pub mod life_table;

pub use age_histogram::AgeHistogram;
pub use flows::{Flow, Flows, SECONDS};
pub use idle_samples::{Answer, IdleSamples, Round, Window};
pub use life_table::LifeTable;

use super::Second;
use crate::event::{Protocol, SocketState};

/// Every so many seconds the past is forgotten a little and ages become coarser.
const CHORES_EVERY: Second = 16;

/// States that no healthy program leaves one socket after the other in.
#[derive(Clone, Debug, Default)]
struct States {
    close_wait: AgeHistogram,
    syn_sent: AgeHistogram,
    /// TCP only: a UDP socket may be bound for ever.
    bound: AgeHistogram,
}

/// What is measured of one series.
#[derive(Clone, Debug)]
pub struct Features {
    ages: AgeHistogram,
    flows: Flows,
    /// Holds in a state, by the second in which they entered it.
    states: States,
    pre_existing: u64,
    bound: u64,
    time_wait: u64,
    life: LifeTable,
    idle: IdleSamples,
    memory_s: f64,
    /// The second before its first.
    began: Option<Second>,
    /// The last second that it has lived through.
    lived: Second,
}

impl Features {
    /// Nothing yet, in the second after `now`; what is older than `memory_s` counts for less and less.
    pub(in crate::engine) fn new(now: Second, memory_s: f64) -> Self {
        Self {
            ages: AgeHistogram::default(),
            flows: Flows::default(),
            states: States::default(),
            pre_existing: 0,
            bound: 0,
            time_wait: 0,
            life: LifeTable::default(),
            idle: IdleSamples::default(),
            memory_s,
            began: None,
            lived: now,
        }
    }

    /// A hold began at `born`, or before tracing (`None`).
    pub(in crate::engine) fn acquire(&mut self, born: Option<Second>) {
        match born {
            Some(born) => {
                self.ages.insert(born);
                self.flows.acquire();
            }
            None => self.pre_existing += 1,
        }
    }

    /// A hold ended after `lifetime_s`.
    pub(in crate::engine) fn release(&mut self, born: Option<Second>, lifetime_s: f64) {
        self.leave(born);
        if born.is_some() {
            self.life.record_death(lifetime_s);
        }
    }

    /// A hold left for another series, or never was: no life ended.
    pub(in crate::engine) fn leave(&mut self, born: Option<Second>) {
        self.flows.release();
        match born {
            Some(born) => self.ages.remove(born),
            None => self.pre_existing = self.pre_existing.saturating_sub(1),
        }
    }

    /// A hold is in `state` since `since`.
    pub(in crate::engine) fn enter(&mut self, protocol: Protocol, state: SocketState, since: Second) {
        if let Some(ages) = self.state_mut(protocol, state) {
            ages.insert(since);
        }
        self.bound += u64::from(state == SocketState::Bound);
    }

    /// A hold that was in `state` since `since` left it.
    pub(in crate::engine) fn exit(&mut self, protocol: Protocol, state: SocketState, since: Second) {
        if let Some(ages) = self.state_mut(protocol, state) {
            ages.remove(since);
        }
        self.bound = self.bound.saturating_sub(u64::from(state == SocketState::Bound));
    }

    fn state_mut(&mut self, protocol: Protocol, state: SocketState) -> Option<&mut AgeHistogram> {
        match state {
            SocketState::Bound if protocol == Protocol::Tcp => Some(&mut self.states.bound),
            SocketState::SynSent => Some(&mut self.states.syn_sent),
            SocketState::CloseWait => Some(&mut self.states.close_wait),
            SocketState::Bound | SocketState::Listen | SocketState::Connected | SocketState::Closing => None,
        }
    }

    /// A TIME_WAIT began (`1`) or ended (`-1`).
    pub(in crate::engine) fn count_time_wait(&mut self, change: i64) {
        self.time_wait = self.time_wait.saturating_add_signed(change);
    }

    /// Questions about the holds of a window go out.
    pub(super) fn begin_idle_round(&mut self, now: Second, window: Window, answers_min: u32) {
        self.idle.begin(now, window, answers_min);
    }

    /// The source says for how long nothing has moved on a hold.
    pub(in crate::engine) fn record_idle(&mut self, born: Second, answer: Answer) {
        self.idle.record(born, answer);
    }

    /// What the idle samples are about is over.
    pub(super) fn forget_idle(&mut self) {
        self.idle.clear();
    }

    /// Second `now` begins: the one before was lived through.
    pub(super) fn begin_second(&mut self, now: Second) {
        self.began.get_or_insert(now.saturating_sub(1));
        self.age(now, now);
        self.lived = now;
    }

    /// What happens from now on belongs to the next second.
    pub(super) fn end_second(&mut self) {
        self.flows.next();
    }

    /// Lives through all seconds up to `now`, in which nothing happened.
    pub(super) fn live_until(&mut self, now: Second) {
        if now > self.lived {
            self.age(self.lived + 1, now);
            self.flows.skip(now - self.lived);
            self.lived = now;
        }
    }

    fn age(&mut self, from: Second, to: Second) {
        let mut from = from;
        while from <= to {
            let chores = from.next_multiple_of(CHORES_EVERY);
            self.life.expose(&self.ages, from, chores.min(to));
            if chores <= to {
                self.life.forget((-f64::from(CHORES_EVERY) / self.memory_s).exp());
                let States { close_wait, syn_sent, bound } = &mut self.states;
                for ages in [&mut self.ages, close_wait, syn_sent, bound] {
                    ages.merge(chores);
                }
            }
            from = chores + 1;
        }
    }

    /// Live holds whose birth was seen, by birth second.
    #[must_use]
    pub fn ages(&self) -> &AgeHistogram {
        &self.ages
    }

    /// At which age holds end.
    #[must_use]
    pub fn life(&self) -> &LifeTable {
        &self.life
    }

    /// Acquisitions and releases by second.
    #[must_use]
    pub fn flows(&self) -> &Flows {
        &self.flows
    }

    /// What the source answered about idle times.
    #[must_use]
    pub fn idle(&self) -> &IdleSamples {
        &self.idle
    }

    /// Holds in CLOSE_WAIT, by the second in which they entered it.
    #[must_use]
    pub fn close_wait(&self) -> &AgeHistogram {
        &self.states.close_wait
    }

    /// Holds in SYN_SENT, by the second in which they entered it.
    #[must_use]
    pub fn syn_sent(&self) -> &AgeHistogram {
        &self.states.syn_sent
    }

    /// TCP holds that are bound and nothing else, by the second in which they were.
    #[must_use]
    pub fn bound_tcp(&self) -> &AgeHistogram {
        &self.states.bound
    }

    /// Holds that are bound and nothing else, UDP included.
    #[must_use]
    pub fn bound(&self) -> u64 {
        self.bound
    }

    /// TIME_WAITs towards the series' destination.
    #[must_use]
    pub fn time_wait(&self) -> u64 {
        self.time_wait
    }

    /// Ports held now.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.ages.total() + self.pre_existing
    }

    /// Whether nothing is held and nothing moved in the last minute.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.held() == 0 && self.time_wait == 0 && self.flows.is_still()
    }

    /// About how many holds ended in the last `seconds`.
    #[must_use]
    pub fn deaths_during(&self, now: Second, seconds: f64) -> f64 {
        let lasted_s = f64::from(now - self.began.unwrap_or(now)).max(1.0);
        // What is remembered of so long a time, in seconds of today.
        let remembered = |seconds: f64| self.memory_s * -(-seconds / self.memory_s).exp_m1();
        self.life.deaths() * remembered(seconds.min(lasted_s)) / remembered(lasted_s)
    }
}
