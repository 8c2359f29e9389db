//! Windows traces that we write ourselves: their holds and verdicts are known. Real ones: `foreign.rs`.

#![expect(clippy::expect_used, reason = "a failing test says so by panicking")]

mod disorder;
mod fuzz;
mod holds;
mod ledger;
mod lists;
mod live;
mod roundtrip;
mod selftest;
mod verdicts;
mod year;
