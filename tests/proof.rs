//! Proof workloads: short lives of ports, each with the sequence of events that the kernel's rules
//! make of it. Every one runs in a network namespace of its own, several at a time, under one
//! live source.

#![cfg(target_os = "linux")]
#![expect(clippy::expect_used, reason = "a failing test says so by panicking")]

#[path = "outcome.rs"]
mod outcome;
#[path = "proof/sequence.rs"]
mod sequence;
#[path = "proof/stage.rs"]
mod stage;
#[path = "proof/table.rs"]
mod table;
#[path = "proof/workload.rs"]
mod workload;

#[test]
#[ignore = "needs root: cargo xtask test"]
fn every_port_is_told_as_it_lived() {
    outcome::tell(&stage::perform(table::CASES));
}
