//! The leak detector: one replaceable room. It tests lifetimes, not levels.
//!
//! A leak is a part of the holds that does not end. Load, bursts and warm-up change how fast ports
//! are acquired, not how long they are held; so for each series (an owner, a protocol, a
//! destination) the detector asks whether holds older than nearly all completed lifetimes
//! (*survivors*) keep being added and never end. The rules and their reasons are in [`rules`], the
//! numbers in [`thresholds`].

mod ages;
mod rules;
mod series;
mod tail;
mod thresholds;

pub(super) use series::{Judged, Series, Surroundings};
pub(super) use thresholds::Thresholds;

/// What the rest of the engine needs to know about time: whole seconds since the engine began.
pub(super) type Second = u32;
