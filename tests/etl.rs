//! Windows traces: real ones against what Microsoft's own reader says of them, and written ones
//! whose holds and verdicts are known.
//!
//! The real ones and Microsoft's manifests are not part of the repository. They are looked for in
//! `../shared/data`, or where `PORTLEAK_DATA` says; without them the tests that need them say that
//! they were skipped.

#![expect(clippy::expect_used, clippy::panic, reason = "a failing test says so by panicking")]

#[path = "etl/data.rs"]
mod data;
#[path = "etl/manifests.rs"]
mod manifests;
#[path = "etl/real.rs"]
mod real;
