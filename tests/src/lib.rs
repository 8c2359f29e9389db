//! What the integration tests, their workloads and the benchmarks share.

#![expect(missing_docs, reason = "read beside the tests, not as documentation")]
#![expect(clippy::expect_used, clippy::panic, reason = "a failing test says so by panicking")]

pub mod etl;
pub mod evaluate;
#[cfg(target_os = "linux")]
pub mod limits;
pub mod meter;
#[cfg(target_os = "linux")]
pub mod netns;
pub mod outcome;
pub mod plan;
pub mod program;
pub mod trace;
#[cfg(target_os = "linux")]
pub mod workload;
