//! What the source answered when it was asked for how long holds had been idle.
//!
//! A pool that grows looks like a leak in every way but one: its connections are in use, or it
//! would not open more. A source may know when data last moved on a connection (on Linux
//! `tcpi_last_data_sent` and `tcpi_last_data_recv`). The engine asks about a few holds when a policy
//! requests it; each round of questions is about one [`Window`].

use crate::engine::detector::Second;
use crate::event::SocketState;

/// Answers kept of one round. The holds of a round also answer when another series asks about them.
const ANSWERS_MAX: usize = 64;

/// The holds that a round of questions, or a call site, is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The first second in which they were born, or entered the state.
    pub from: Second,
    /// And the last.
    pub to: Second,
    /// The state that they are in. Such holds are not asked about: the state says enough.
    pub state: Option<SocketState>,
}

impl Window {
    /// Whether it includes a hold that was born then and is in a state since then.
    pub(in crate::engine) fn includes(&self, born: Second, state: SocketState, since: Second) -> bool {
        let then = if self.state.is_some() { since } else { born };
        self.state.is_none_or(|wanted| wanted == state) && (self.from..=self.to).contains(&then)
    }

    /// Whether a hold in this state is to be asked about.
    pub(in crate::engine) fn asks(&self, state: SocketState) -> bool {
        self.state.is_none() && !matches!(state, SocketState::SynSent | SocketState::Bound)
    }
}

/// For how long no data had moved on a hold of this age.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// Its age in seconds.
    pub age_s: f64,
    /// Seconds since data last moved on it.
    pub idle_s: f64,
}

/// One round of questions and what was answered.
#[derive(Clone, Debug)]
pub struct Round {
    /// What it is about.
    pub window: Window,
    /// When the questions went out.
    pub asked: Second,
    /// What came back.
    pub answers: Vec<Answer>,
}

/// The questions and answers of one series.
#[derive(Clone, Debug, Default)]
pub struct IdleSamples {
    round: Option<Box<Round>>,
    /// The last round before it that had enough answers.
    before: Option<Box<Round>>,
}

impl IdleSamples {
    /// A new round begins; the one before is kept if it has so many answers.
    pub(super) fn begin(&mut self, now: Second, window: Window, answers_min: u32) {
        if self.round.as_ref().is_some_and(|round| round.answers.len() >= answers_min as usize) {
            self.before = self.round.take();
        }
        self.round = Some(Box::new(Round { window, asked: now, answers: Vec::new() }));
    }

    /// The source says for how long nothing has moved on a hold that was born then.
    pub(super) fn record(&mut self, born: Second, answer: Answer) {
        if let Some(round) = &mut self.round
            && round.window.state.is_none()
            && (round.window.from..=round.window.to).contains(&born)
            && round.answers.len() < ANSWERS_MAX
        {
            round.answers.push(answer);
        }
    }

    /// The round that the last questions went out in.
    #[must_use]
    pub fn round(&self) -> Option<&Round> {
        self.round.as_deref()
    }

    /// The latest round that has at least so many answers.
    #[must_use]
    pub fn latest(&self, answers_min: u32) -> Option<&Round> {
        let enough = |round: &&Round| round.answers.len() >= answers_min as usize;
        self.round.as_deref().filter(enough).or(self.before.as_deref())
    }

    /// Forgets everything: what it was about is over.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
