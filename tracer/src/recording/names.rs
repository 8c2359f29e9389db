//! The names of call sites, for readers on machines that do not have the files.
//!
//! A thread finds them out while the processes still live and beside the loop, which must not wait
//! for it: reading a program's debug information can take a second.

use crate::event::{EventKind, Frame};
use crate::symbols::{Name, Place, Symbols};
use rustc_hash::FxHashSet;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

/// Places that are named at most; others are told by their module and offset.
const PLACES_MAX: usize = 65_536;
/// How long the end waits for names that are still being looked up.
const PATIENCE: Duration = Duration::from_secs(5);

/// A place and its names, innermost first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Named {
    path: String,
    offset: u64,
    names: Vec<Name>,
}

/// The names in a block; nothing when it is not understood.
pub(super) fn parse(content: &[u8]) -> Option<impl Iterator<Item = (Place, Vec<Name>)>> {
    let all: Vec<Named> = serde_json::from_slice(content).ok()?;
    Some(all.into_iter().map(|named| ((named.path.into(), named.offset), named.names)))
}

/// The content of a block of names.
pub(super) fn content(named: &[Named]) -> Vec<u8> {
    // Texts and numbers: there is nothing in it that JSON could not say.
    serde_json::to_vec(named).unwrap_or_default()
}

/// Asks the thread, and takes what it has found.
#[derive(Debug, Default)]
pub(super) struct Namer {
    asked: FxHashSet<Place>,
    /// Not before there is something to ask.
    thread: Option<Thread>,
}

#[derive(Debug)]
struct Thread {
    ask: Sender<Place>,
    told: Receiver<Named>,
    open: usize,
}

impl Namer {
    /// Looks for new places in an event.
    pub(super) fn notice(&mut self, event: &EventKind) {
        let EventKind::Site { frames, .. } = event else {
            return;
        };
        for frame in frames.iter() {
            if let Frame::File { path, offset } = frame
                && self.asked.len() < PLACES_MAX
                && self.asked.insert((Arc::clone(path), *offset))
            {
                let thread = self.thread.get_or_insert_with(Thread::start);
                // It goes on until it is dropped.
                thread.open += usize::from(thread.ask.send((Arc::clone(path), *offset)).is_ok());
            }
        }
    }

    /// What was found since the last call.
    pub(super) fn found(&mut self) -> Vec<Named> {
        let Some(thread) = &mut self.thread else {
            return Vec::new();
        };
        let found: Vec<_> = thread.told.try_iter().collect();
        thread.open -= found.len();
        found
    }

    /// What is still being looked up, as far as it comes soon.
    pub(super) fn rest(&mut self) -> Vec<Named> {
        let Some(thread) = self.thread.take() else {
            return Vec::new();
        };
        let patience_ends = Instant::now() + PATIENCE;
        let next = || thread.told.recv_timeout(patience_ends.saturating_duration_since(Instant::now())).ok();
        std::iter::from_fn(next).take(thread.open).collect()
    }
}

impl Thread {
    fn start() -> Self {
        let (ask, asked) = mpsc::channel::<Place>();
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            let symbols = Symbols::default();
            for (path, offset) in asked {
                let names = symbols.names(&[Frame::File { path: Arc::clone(&path), offset }]);
                if tell.send(Named { path: path.to_string(), offset, names }).is_err() {
                    return; // Nobody waits any more.
                }
            }
        });
        Self { ask, told, open: 0 }
    }
}
