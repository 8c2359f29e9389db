//! Whether holds that stay are used: what the source answered when it was asked.
//!
//! A pool that grows looks like a leak in every way but one: its connections are in use, or it
//! would not open more. A source may know when data last moved on a connection (on Linux
//! `tcpi_last_data_sent` and `tcpi_last_data_recv`); the engine asks for a few holds when the
//! answer would decide.

use super::Second;
use crate::event::SocketState;

/// Holds asked for at a time.
pub(in crate::engine) const SAMPLE_SIZE: usize = 16;
/// A source that has not answered after so many seconds does not know.
const ANSWER_S: u32 = 2;
/// Fewer answers say nothing.
const ANSWERS_MIN: u32 = 3;
/// A hold is abandoned if nothing moved for this share of its life.
const ABANDONED_AGE_SHARE: f64 = 0.75;
/// The sample is abandoned, or in use, from these shares on.
const ABANDONED_SHARE: f64 = 0.8;
const IN_USE_SHARE: f64 = 0.5;

/// Whether holds that stay are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Usage {
    /// Asked, and no answer yet.
    Waiting,
    /// Nobody knows.
    Unknown,
    /// They are idle nearly all their lives.
    Abandoned,
    /// Some are, some are not.
    Mixed,
    /// They are used.
    InUse,
}

/// Which holds are to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) struct Window {
    /// When they were born, or entered the state.
    pub(super) from: Second,
    pub(super) to: Second,
    /// The state that they are in. They are not asked about: the state says enough.
    pub(super) state: Option<SocketState>,
}

impl Window {
    /// Whether it includes one that was born then and is in a state since then.
    pub(in crate::engine) fn includes(&self, born: Second, state: SocketState, since: Second) -> bool {
        let then = if self.state.is_some() { since } else { born };
        self.state.is_none_or(|wanted| wanted == state) && (self.from..=self.to).contains(&then)
    }

    /// Whether it would help to know if they are used.
    pub(in crate::engine) fn asks(&self, state: SocketState) -> bool {
        self.state.is_none() && !matches!(state, SocketState::SynSent | SocketState::Bound)
    }
}

/// What was answered in one round of questions.
#[derive(Clone, Copy, Debug)]
struct Round {
    window: Window,
    asked: Second,
    answered: u32,
    abandoned: u32,
}

impl Round {
    fn is_answered(&self) -> bool {
        self.answered >= ANSWERS_MIN
    }
}

/// Questions and answers of one series.
#[derive(Clone, Debug, Default)]
pub(super) struct IdleSamples {
    round: Option<Round>,
    /// The last round that was answered.
    answered_round: Option<Round>,
}

impl IdleSamples {
    /// Whether it is time to ask (again): the older what is asked about, the rarer.
    pub(super) fn is_due(&self, now: Second, window: Window) -> bool {
        let every = ((now - window.from) / 8).clamp(ANSWER_S + 1, 60);
        self.round.is_none_or(|round| now >= round.asked + every)
    }

    /// Questions go out.
    pub(super) fn query(&mut self, now: Second, window: Window) {
        self.answered_round = self.round.filter(Round::is_answered).or(self.answered_round);
        self.round = Some(Round { window, asked: now, answered: 0, abandoned: 0 });
    }

    /// The source says for how long nothing has moved on a hold that was born then.
    pub(super) fn record(&mut self, born: Second, age_s: f64, idle_s: f64) {
        let concerns = |round: &&mut Round| {
            round.window.state.is_none() && (round.window.from..=round.window.to).contains(&born)
        };
        if let Some(round) = self.round.as_mut().filter(concerns) {
            round.answered += 1;
            round.abandoned += u32::from(idle_s >= ABANDONED_AGE_SHARE * age_s);
        }
    }

    fn latest(&self) -> Option<Round> {
        self.round.filter(Round::is_answered).or(self.answered_round)
    }

    pub(super) fn usage(&self, now: Second) -> Usage {
        if let Some(round) = self.latest() {
            let share = f64::from(round.abandoned) / f64::from(round.answered);
            return if share >= ABANDONED_SHARE {
                Usage::Abandoned
            } else if share <= IN_USE_SHARE {
                Usage::InUse
            } else {
                Usage::Mixed
            };
        }
        match self.round {
            Some(round) if now < round.asked + ANSWER_S => Usage::Waiting,
            Some(_) => Usage::Unknown,
            None => Usage::Waiting,
        }
    }

    /// Of how many that were looked at how many are abandoned.
    pub(super) fn seen(&self) -> Option<(u32, u32)> {
        self.latest().map(|round| (round.abandoned, round.answered))
    }

    /// Forgets all: what it was about is over.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
