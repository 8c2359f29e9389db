//! Windows traces: real ones against what Microsoft's own reader says of them, and written ones
//! whose holds and verdicts are known.
//!
//! The real ones and Microsoft's manifests are not part of the repository. They are looked for in
//! `../shared/data`, or where `PORTLEAK_DATA` says; without them the tests that need them say that
//! they were skipped.

#![expect(clippy::expect_used, clippy::panic, reason = "a failing test says so by panicking")]

#[path = "etl/data.rs"]
mod data;
#[path = "etl/encode.rs"]
mod encode;
#[path = "etl/fuzz.rs"]
mod fuzz;
#[path = "etl/holds.rs"]
mod holds;
#[path = "etl/machine.rs"]
mod machine;
#[path = "etl/manifests.rs"]
mod manifests;
#[path = "etl/pack.rs"]
mod pack;
#[path = "etl/real.rs"]
mod real;
#[path = "etl/roundtrip.rs"]
mod roundtrip;
#[path = "etl/story.rs"]
mod story;
#[path = "etl/verdicts.rs"]
mod verdicts;
#[path = "etl/writer.rs"]
mod writer;
