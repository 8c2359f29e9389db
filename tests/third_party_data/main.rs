//! Windows traces and manifests that others made, against what Microsoft's own reader says of them.
//!
//! They are not part of the repository. They are looked for in `../shared/data`, or where
//! `PORTLEAK_DATA` says; a test whose data is not there is told as ignored, with the reason.

#![expect(clippy::expect_used, clippy::panic, reason = "a failing test says so by panicking")]

mod data;
mod manifests;
mod real;

use libtest_mimic::{Arguments, Trial};
use std::process::ExitCode;

type Test = fn() -> data::Outcome;

const TESTS: [(&str, Test); 5] = [
    ("layouts_are_those_of_the_manifests", manifests::layouts_are_those_of_the_manifests),
    (
        "layouts_of_processes_are_those_of_the_manifest",
        manifests::layouts_of_processes_are_those_of_the_manifest,
    ),
    ("system_holds_its_ports_in_a_real_trace", real::system_holds_its_ports_in_a_real_trace),
    (
        "traffic_of_x64_is_as_microsoft_counts_and_prints_it",
        real::traffic_of_x64_is_as_microsoft_counts_and_prints_it,
    ),
    (
        "traffic_of_x86_is_as_microsoft_counts_and_prints_it",
        real::traffic_of_x86_is_as_microsoft_counts_and_prints_it,
    ),
];

fn main() -> ExitCode {
    let trials = TESTS.map(|(name, test)| Trial::ignorable_test(name, test));
    libtest_mimic::run(&Arguments::from_args(), trials.into()).exit_code()
}
