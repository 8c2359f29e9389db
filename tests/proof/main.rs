//! Proof workloads: short lives of ports, each with the sequence of events that the kernel's rules
//! make of it. Every one runs in a network namespace of its own, several at a time, under one
//! live source.

#![cfg(target_os = "linux")]
#![expect(clippy::expect_used, reason = "a failing test says so by panicking")]

mod runner;
mod sequence;
mod table;

#[test]
#[ignore = "needs root: cargo xtask test"]
fn every_port_is_told_as_it_lived() {
    portleak_tests::outcome::tell(&runner::perform(table::CASES));
}
