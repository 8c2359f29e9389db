//! Windows traces that we write ourselves: their holds and verdicts are known. Real ones: `foreign.rs`.

#![expect(clippy::expect_used, clippy::panic, reason = "a failing test says so by panicking")]

#[path = "etl/disorder.rs"]
mod disorder;
#[path = "etl/encode.rs"]
mod encode;
#[path = "etl/fuzz.rs"]
mod fuzz;
#[path = "etl/holds.rs"]
mod holds;
#[path = "etl/ledger.rs"]
mod ledger;
#[path = "etl/lists.rs"]
mod lists;
#[path = "etl/live.rs"]
mod live;
#[path = "etl/machine.rs"]
mod machine;
#[path = "etl/pack.rs"]
mod pack;
#[path = "etl/roundtrip.rs"]
mod roundtrip;
#[path = "etl/selftest.rs"]
mod selftest;
#[path = "etl/story.rs"]
mod story;
#[path = "etl/verdicts.rs"]
mod verdicts;
#[path = "etl/writer.rs"]
mod writer;
#[path = "etl/year.rs"]
mod year;
