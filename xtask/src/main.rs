//! Development tasks: `cargo xtask --help`.
//!
//! Everything here runs on a plain machine with stable Rust; what a task needs beyond that it looks
//! for, installs where it may, and otherwise names with the commands to type.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool for developers: printing is its output"
)]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that panics has failed"))]

mod bench;
mod command;
mod digest;
mod evaluate;
mod licences;
mod linker;
mod machine;
mod prebuilt;
mod probes;
mod suites;
mod test;
mod toolchain;
mod vm;
mod windows;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// portleak's development tasks.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Compile the kernel probes into tracer-ebpf/prebuilt, to be committed
    BuildProbes,
    /// Check that the committed probes are what the sources say
    CheckProbes,
    /// Check and test everything: the command that must pass before a commit and in CI
    Test,
    /// Test on other kernels, Debian's, in virtual machines: live tests, ports of the kernel's own, proof
    /// workloads, random operations. Debian's archive is asked for them; nothing needs KVM or root
    TestVm {
        /// Series such as 6.1, or `newest`; without any, all that are supported
        kernels: Vec<String>,
        /// Only what `cargo xtask test` runs there
        #[arg(long)]
        short: bool,
    },
    /// Build portleak.exe and run it and the portable tests under wine, with a stand-in for Windows' event
    /// tracing. PORTLEAK_WINDOWS_STD=compiled|source allows but one way to come by Rust's standard library
    Windows {
        /// Only these scenarios, by parts of their names
        scenarios: Vec<String>,
    },
    /// Check the licences of all dependencies
    Deny,
    /// Judge labelled synthetic traffic and print how many leaks are found, how soon, and who is
    /// accused for nothing
    Evaluate {
        /// Options, as `cargo xtask evaluate -- --help` tells them
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Measure what tracing costs
    Bench {
        #[command(subcommand)]
        bench: Bench,
    },
}

#[derive(Subcommand)]
enum Bench {
    /// Loopback connections as fast as one thread can, with no tracer, with portleak and its peers
    Storm(Rounds),
    /// UDP datagrams and a TCP stream over loopback that take no ports, with no tracer and with portleak
    Traffic(Rounds),
    /// A made-up recording: events judged a second, and memory a live hold
    Replay(Rounds),
}

#[derive(Args)]
struct Rounds {
    /// How often to measure every variant
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
}

fn main() -> ExitCode {
    match run(&Cli::parse().task) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: &Task) -> Result<ExitCode> {
    let root = workspace_root()?;
    match task {
        Task::BuildProbes => probes::build(&root)?,
        Task::CheckProbes => probes::check(&root)?,
        Task::Test => return Ok(test::run(&root)),
        Task::TestVm { kernels, short } => {
            let choice = if *short { vm::Choice::Short } else { vm::Choice::All };
            return vm::run(&root, kernels, choice);
        }
        Task::Windows { scenarios } => return windows::run(&root, scenarios),
        Task::Evaluate { arguments } => evaluate::run(&root, arguments)?,
        Task::Deny => licences::check(&root)?,
        Task::Bench { bench: Bench::Storm(of) } => bench::storm(&root, of.rounds)?,
        Task::Bench { bench: Bench::Traffic(of) } => bench::traffic(&root, of.rounds)?,
        Task::Bench { bench: Bench::Replay(of) } => bench::replay::run(&root, of.rounds)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The checkout that cargo started us from; not the one we were compiled in, which is another one
/// when two checkouts share a target directory.
fn workspace_root() -> Result<PathBuf> {
    let package = env::var_os("CARGO_MANIFEST_DIR").context("start this as `cargo xtask`")?;
    let root = Path::new(&package).parent();
    Ok(root.context("xtask lives in a workspace")?.to_owned())
}
