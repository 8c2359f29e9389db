//! Development tasks: `cargo xtask --help`.
//!
//! Every task runs on a plain machine with stable Rust. What it needs beyond that it installs where it
//! may, and otherwise names with the commands to type.

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
    /// Compile the kernel probes into tracer-ebpf/prebuilt, which is committed
    BuildProbes,
    /// Check that the committed probes match their sources
    CheckProbes,
    /// Check and test everything: must pass before a commit and in CI
    Test,
    /// Test on Debian's other kernels in virtual machines: live tests, ports of kernel sockets, proof
    /// workloads, random operations. Kernels come from Debian's archive; needs neither KVM nor root
    TestVm {
        /// Series such as 6.1, or `newest`; default: all supported ones
        kernels: Vec<String>,
        /// Only what `cargo xtask test` runs
        #[arg(long)]
        short: bool,
    },
    /// Build portleak.exe; run it and the portable tests under wine, with a stand-in for Windows' event
    /// tracing. PORTLEAK_WINDOWS_STD=compiled|source fixes where Rust's standard library comes from
    Windows {
        /// Only scenarios whose names contain one of these
        scenarios: Vec<String>,
    },
    /// Check the licences of all dependencies
    Deny,
    /// Run the detector on labelled synthetic traffic: leaks found, delays, false verdicts
    Evaluate {
        /// Options; see `cargo xtask evaluate -- --help`
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
    /// Loopback connections at full speed: without a tracer, with portleak, with its peers
    Storm(Rounds),
    /// Loopback traffic that takes no ports: without a tracer, with portleak
    Traffic(Rounds),
    /// A synthetic recording: events per second, memory per live hold
    Replay(Rounds),
    /// A synthetic recording: what a new owner costs among few others and among many
    Owners(Rounds),
    /// A simulated month of a busy host through the engine: sums, leaks found, memory at half and at the end
    Month {
        /// Days that are simulated
        #[arg(long, default_value_t = 30)]
        days: u32,
    },
}

#[derive(Args)]
struct Rounds {
    /// Rounds per variant
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
        Task::Bench { bench: Bench::Owners(of) } => bench::owners::run(&root, of.rounds)?,
        Task::Bench { bench: Bench::Month { days } } => bench::replay::month(&root, *days)?,
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
