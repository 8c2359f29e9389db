//! `cargo xtask test`: everything that must hold, in the order of what fails soonest.
//!
//! The last line is the sum of all tests, alone: `N passed, N failed, N skipped`.

use crate::command::{self, Teed};
use crate::machine;
use crate::probes;
use crate::suites::{self, Counts, Suite};
use crate::vm;
use crate::windows::{self, Tested};
use anyhow::{Result, bail};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

/// Runs all steps up to the first that fails.
pub(crate) fn run(root: &Path) -> ExitCode {
    let mut session = Session::default();
    let outcome = session.run(root);
    session.print_times();
    if let Err(error) = &outcome {
        eprintln!("error: {error:#}");
    }
    let again = [session.live, session.windows.scenarios].concat();
    let sum = suites::sum(&session.all, &again).plus(session.windows.portable).plus(session.kernels);
    println!("{} passed, {} failed, {} skipped", sum.passed, sum.failed, sum.skipped);
    ExitCode::from(u8::from(outcome.is_err()))
}

#[derive(Default)]
struct Session {
    times: Vec<(&'static str, Duration)>,
    /// Results of the run of the whole workspace.
    all: Vec<Suite>,
    /// Results of the live tests, when they ran as root.
    live: Vec<Suite>,
    /// Results from Windows' side.
    windows: Tested,
    /// Results from all other kernels.
    kernels: Counts,
}

impl Session {
    fn run(&mut self, root: &Path) -> Result<()> {
        self.step("format", || format(root))?;
        self.step("clippy", || clippy(root))?;
        self.step("documentation", || document(root))?;
        self.step("probes", || probes::check(root))?;
        let tests = self.step("tests", || cargo_test(root, &["--workspace"]))?;
        self.all = suites::parse(&tests.output);
        if !tests.success {
            bail!("tests failed");
        }
        self.windows = self.step("windows", || windows::test_if_possible(root))?;
        if self.windows.failed() > 0 {
            bail!("tests for Windows failed");
        }
        if !machine::is_root() {
            const WHY: &str = "needs root: sudo -E cargo xtask test";
            println!("\nSKIPPED: live tests: {WHY}");
            self.kernels = vm::skip(WHY);
            return Ok(());
        }
        if machine::may_install() {
            self.step("tools", vm::install_tools)?;
        }
        self.step("python", machine::python)?;
        let live = self.step("live tests", || cargo_test(root, &LIVE))?;
        self.live = suites::parse(&live.output);
        if !live.success {
            bail!("live tests failed");
        }
        let here = vm::Workloads::read(&live.output);
        self.kernels = self.step("kernels", || vm::test_if_possible(root, here))?;
        if self.kernels.failed > 0 {
            bail!("tests failed on other kernels");
        }
        Ok(())
    }

    fn step<T>(&mut self, name: &'static str, run: impl FnOnce() -> Result<T>) -> Result<T> {
        println!("\n== {name} ==");
        let started = Instant::now();
        let result = run();
        self.times.push((name, started.elapsed()));
        result.map_err(|error| error.context(format!("step `{name}`")))
    }

    fn print_times(&self) {
        println!("\n== times ==");
        for (name, time) in &self.times {
            println!("{:>7.1} s  {name}", time.as_secs_f64());
        }
        println!();
    }
}

/// The tests that load probes into the running kernel, one at a time: they share its ports.
const LIVE: [&str; 14] = [
    "--package",
    "portleak-tests",
    "--test",
    "live",
    "--test",
    "proof",
    "--test",
    "differential",
    "--test",
    "programs",
    "--",
    "--include-ignored",
    "--test-threads=1",
    "--show-output",
];

fn format(root: &Path) -> Result<()> {
    need_component("fmt", "rustfmt", root)?;
    command::run(command::cargo(root).args(["fmt", "--all", "--check"]))
}

fn clippy(root: &Path) -> Result<()> {
    need_component("clippy", "clippy", root)?;
    let mut cargo = command::cargo(root);
    cargo.args(["clippy", "--workspace", "--all-targets", "--locked"]);
    command::run(cargo.args(["--", "-D", "warnings"]))
}

fn need_component(command: &str, component: &str, root: &Path) -> Result<()> {
    if command::read(command::cargo(root).args([command, "--version"])).is_err() {
        bail!("cargo {command} is missing; type `rustup component add {component}`");
    }
    Ok(())
}

fn document(root: &Path) -> Result<()> {
    let mut cargo = command::cargo(root);
    cargo.args(["doc", "--workspace", "--no-deps", "--locked"]);
    command::run(cargo.env("RUSTDOCFLAGS", "-D warnings"))
}

/// What was said, and whether cargo was content: a test that dies leaves no result to count.
fn cargo_test(root: &Path, arguments: &[&str]) -> Result<Teed> {
    let mut cargo: Command = command::cargo(root);
    cargo.args(["test", "--locked", "--no-fail-fast"]);
    // Colours would hide the lines that are counted.
    cargo.args(arguments).env("CARGO_TERM_COLOR", "never");
    command::run_teed(cargo)
}
