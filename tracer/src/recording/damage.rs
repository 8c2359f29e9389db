//! The parts of a recording that cannot be read.

use std::fmt;

/// Damaged places that are listed one by one; the rest is counted.
const PLACES_MAX: usize = 16;

/// A part of a recording that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Where it begins, in bytes from the beginning of the file.
    pub offset: u64,
    /// How long it is.
    pub bytes: u64,
    /// Whether the file ends in it.
    pub cut: bool,
}

/// What is missing in a recording.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flaws {
    /// The damaged places, the first ones.
    pub places: Vec<Damage>,
    /// Number of damaged places.
    pub damaged: u64,
    /// Events that were in them, as far as the next intact block shows.
    pub lost: u64,
    /// Events of a kind that this version does not know.
    pub unknown: u64,
    /// Whether the end is missing: its writer was killed, or the file was cut between two blocks.
    pub unfinished: bool,
}

impl Flaws {
    pub(super) fn damaged(&mut self, place: Damage) {
        self.damaged += 1;
        if self.places.len() < PLACES_MAX {
            self.places.push(place);
        }
    }

    /// Whether bytes were damaged or are missing.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.damaged > 0
    }
}

/// One sentence per line; empty for an intact recording.
impl fmt::Display for Flaws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Damage { offset, bytes, cut } in &self.places {
            let what = if *cut { "is cut" } else { "is damaged" };
            writeln!(f, "the recording {what} at byte {offset}: {bytes} bytes could not be read")?;
        }
        if self.damaged > self.places.len() as u64 {
            writeln!(f, "it is damaged at {} places in total", self.damaged)?;
        }
        if self.lost > 0 {
            writeln!(f, "{} events were in the damaged parts", self.lost)?;
        }
        if self.unfinished && self.damaged == 0 {
            writeln!(f, "the recording was not finished: up to a second before its end may be missing")?;
        }
        if self.unknown > 0 {
            writeln!(f, "{} events are of a later version and were skipped; update portleak", self.unknown)?;
        }
        Ok(())
    }
}
