//! The real binary against real sockets: every figure it prints is compared with what a program
//! that knows (`tests/workload`) says it did.
//!
//! Every workload runs in a network namespace of its own. Tests that demand exact figures under
//! load have the machine to themselves; those that only watch over time share it.

#![cfg(target_os = "linux")]
#![expect(clippy::expect_used, clippy::panic, reason = "a failing test says so by panicking")]

#[path = "live/commands.rs"]
mod commands;
#[path = "live/corrections.rs"]
mod corrections;
#[path = "live/exactness.rs"]
mod exactness;
#[path = "live/harness.rs"]
mod harness;
#[path = "live/kernel_sockets.rs"]
mod kernel_sockets;
#[path = "live/lives.rs"]
mod lives;
#[path = "live/moves.rs"]
mod moves;
#[path = "outcome.rs"]
mod outcome;
#[path = "live/places.rs"]
mod places;
#[path = "live/recording.rs"]
mod recording;
#[path = "live/sites.rs"]
mod sites;
#[path = "live/trace.rs"]
mod trace;
#[path = "live/verdicts.rs"]
mod verdicts;
