//! The events of one case as a line of words.
//!
//! ```text
//! A1    the case's first port is acquired     T+1  its TIME_WAIT begins
//! R1    and released                          T~1  is re-armed
//! W1    its peer has closed (CLOSE_WAIT)      T-1  and ends
//! F:E   an allocation fails with error E      X    a process that owned a port ends
//! ```
//!
//! An acquisition that is announced and then retracted is not told, only its failure.

use portleak::event::{Acquired, Event, EventKind, Failed, HoldId, OwnerId, SocketState};
use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;

/// Where and when a case took place.
pub(crate) struct Scene {
    pub(crate) netns: u32,
    pub(crate) lasted_ns: RangeInclusive<u64>,
}

/// What the source told of a case.
pub(crate) struct Told {
    words: Vec<Word>,
    /// Owner and port of every acquisition, in order.
    pub(crate) took: Vec<(Option<u32>, Option<u16>)>,
}

#[derive(Clone)]
enum Word {
    Acquired(usize),
    CloseWait(usize),
    Released(usize),
    Began(usize),
    Rearmed(usize),
    Ended(usize),
    Failed(&'static str),
    Exit,
}

#[derive(Default)]
struct Reader {
    words: Vec<Word>,
    took: Vec<(Option<u32>, Option<u16>)>,
    /// The latest acquisition of each socket.
    latest: HashMap<HoldId, usize>,
    retracted: HashSet<usize>,
}

/// Reads a case's events from everybody's.
pub(crate) fn read(events: &[Event], scene: &Scene) -> Told {
    let mut reader = Reader::default();
    for event in events {
        reader.read(event, scene);
    }
    reader.told()
}

impl Told {
    /// The line, with the words that not every run can promise only if they are `wanted`.
    pub(crate) fn line(&self, wanted: &str) -> String {
        let told = self.words.iter().map(Word::text);
        let optional = |word: &String| word.starts_with("T~") || word == "X";
        let told = told.filter(|word| !optional(word) || wanted.contains(word.as_str()));
        told.collect::<Vec<_>>().join(" ")
    }
}

impl Reader {
    fn read(&mut self, event: &Event, scene: &Scene) {
        let here = |netns: u32| netns == scene.netns && scene.lasted_ns.contains(&event.at_ns);
        match &event.kind {
            EventKind::Acquired(acquired) if here(acquired.pool.netns.0) => self.acquired(acquired),
            EventKind::Failed(failed) if here(failed.pool.netns.0) => self.failed(failed),
            EventKind::PortLearnt { hold, port } => {
                if let Some(index) = self.latest.get(hold) {
                    self.took[*index].1 = Some(*port);
                }
            }
            EventKind::State { hold, state: SocketState::CloseWait, .. } => self.say(hold, Word::CloseWait),
            EventKind::Released { hold } => self.say(hold, Word::Released),
            EventKind::TimeWaitBegan { hold } => self.began(hold),
            EventKind::TimeWaitEnded { hold } => self.say(hold, Word::Ended),
            EventKind::Exited { id } if self.took.iter().any(|(pid, _)| *pid == Some(id.pid)) => {
                self.words.push(Word::Exit);
            }
            _ => {}
        }
    }

    fn say(&mut self, hold: &HoldId, word: fn(usize) -> Word) {
        self.words.extend(self.latest.get(hold).copied().map(word));
    }

    fn acquired(&mut self, acquired: &Acquired) {
        let index = self.took.len();
        let pid = match &acquired.owner {
            OwnerId::Process(id) => Some(id.pid),
            OwnerId::System { .. } | OwnerId::Program(_) | OwnerId::Others(_) | OwnerId::Unowned => None,
        };
        self.took.push((pid, acquired.port));
        self.latest.insert(acquired.hold, index);
        self.words.push(Word::Acquired(index));
    }

    fn failed(&mut self, failed: &Failed) {
        self.retracted.extend(failed.retracts.and_then(|hold| self.latest.remove(&hold)));
        self.words.push(Word::Failed(failed.code.name()));
    }

    /// An end directly before it was none.
    fn began(&mut self, hold: &HoldId) {
        let Some(&index) = self.latest.get(hold) else {
            return;
        };
        let about_it = self.words.iter().rposition(|word| word.hold() == Some(index));
        match about_it.map(|at| &mut self.words[at]) {
            Some(word @ Word::Ended(_)) => *word = Word::Rearmed(index),
            _ => self.words.push(Word::Began(index)),
        }
    }

    /// Without what was retracted, numbered from 1.
    fn told(self) -> Told {
        let kept: Vec<_> = (0..self.took.len()).filter(|index| !self.retracted.contains(index)).collect();
        let number = |index: usize| kept.iter().position(|kept| *kept == index).map(|at| at + 1);
        let words = self.words.iter().filter_map(|word| word.numbered(number)).collect();
        let took = kept.iter().map(|index| self.took[*index]).collect();
        Told { words, took }
    }
}

impl Word {
    fn hold(&self) -> Option<usize> {
        match self {
            Self::Acquired(it) | Self::CloseWait(it) | Self::Released(it) => Some(*it),
            Self::Began(it) | Self::Rearmed(it) | Self::Ended(it) => Some(*it),
            Self::Failed(_) | Self::Exit => None,
        }
    }

    fn numbered(&self, number: impl Fn(usize) -> Option<usize>) -> Option<Self> {
        Some(match self {
            Self::Acquired(it) => Self::Acquired(number(*it)?),
            Self::CloseWait(it) => Self::CloseWait(number(*it)?),
            Self::Released(it) => Self::Released(number(*it)?),
            Self::Began(it) => Self::Began(number(*it)?),
            Self::Rearmed(it) => Self::Rearmed(number(*it)?),
            Self::Ended(it) => Self::Ended(number(*it)?),
            Self::Failed(_) | Self::Exit => self.clone(),
        })
    }

    fn text(&self) -> String {
        match self {
            Self::Acquired(it) => format!("A{it}"),
            Self::CloseWait(it) => format!("W{it}"),
            Self::Released(it) => format!("R{it}"),
            Self::Began(it) => format!("T+{it}"),
            Self::Rearmed(it) => format!("T~{it}"),
            Self::Ended(it) => format!("T-{it}"),
            Self::Failed(code) => format!("F:{code}"),
            Self::Exit => "X".to_owned(),
        }
    }
}
