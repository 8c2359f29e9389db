//! The real binary against real sockets: every figure it prints is compared with what a program
//! that knows (`tests/workload`) says it did.
//!
//! Every workload runs in a network namespace of its own. Tests that demand exact figures under
//! load have the machine to themselves; those that only watch over time share it.

#![cfg(target_os = "linux")]
#![expect(clippy::expect_used, clippy::panic, reason = "a failing test says so by panicking")]

mod brief_processes;
mod commands;
mod corrections;
mod exactness;
mod harness;
mod kernel_sockets;
mod lives;
mod moves;
mod places;
mod recording;
mod sites;
mod slow_reader;
mod tree;
mod verdicts;
