//! The names of call sites, for readers on machines without the files.
//!
//! A worker reads them while the processes exist. Reading a program's debug information can take a
//! second; the recording waits for it only at its end.

use crate::event::EventKind;
use crate::symbols::{Name, Place, Symbols};
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// A place and its names, innermost first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Named {
    path: String,
    offset: u64,
    names: Vec<Name>,
}

/// The names in a block; `None` when it cannot be parsed.
pub(super) fn parse(content: &[u8]) -> Option<impl Iterator<Item = (Place, Vec<Name>)>> {
    let all: Vec<Named> = serde_json::from_slice(content).ok()?;
    Some(all.into_iter().map(|named| ((named.path.into(), named.offset), named.names)))
}

/// The content of a block of names.
pub(super) fn content(named: &[Named]) -> Vec<u8> {
    // Texts and numbers can always be written as JSON.
    serde_json::to_vec(named).unwrap_or_default()
}

/// Requests the names of all call sites, and collects those that were found.
#[derive(Debug)]
pub(super) struct Namer {
    symbols: Symbols,
    /// How many of the names found have been collected.
    seen: usize,
}

impl Namer {
    pub(super) fn new(symbols: Symbols) -> Self {
        Self { symbols, seen: 0 }
    }

    /// Requests the names of an event's call site.
    pub(super) fn observe(&self, event: &EventKind) {
        if let EventKind::Site { frames, .. } = event {
            self.symbols.prefetch(frames);
        }
    }

    /// The names found since the last call.
    pub(super) fn found(&mut self) -> Vec<Named> {
        let found = self.symbols.found_since(&mut self.seen);
        found
            .into_iter()
            .map(|((path, offset), names)| Named { path: path.to_string(), offset, names })
            .collect()
    }

    /// The names that are found until `deadline`.
    pub(super) fn rest(&mut self, deadline: Instant) -> Vec<Named> {
        self.symbols.wait_all(deadline);
        self.found()
    }
}
