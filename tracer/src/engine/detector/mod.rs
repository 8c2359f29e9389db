//! The leak detector: one replaceable room. It tests lifetimes, not levels.

mod ages;
mod flows;
mod growth;
mod idle;
mod life;
mod rules;
mod series;
mod thresholds;

pub(super) use idle::{SAMPLE, Window};
pub(super) use series::{Judged, Series, Surroundings};
pub use thresholds::{Patience, Stuck, Thresholds};

/// What the rest of the engine needs to know about time: whole seconds since the engine began.
pub(super) type Second = u32;
