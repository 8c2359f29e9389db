//! `cargo xtask bench replay`: how fast recordings are judged, and how much memory a live hold takes.
//!
//! Needs neither root nor a kernel that can be traced: the recording is made up. Reading alone and
//! judging take turns, so that both see the same machine.

use super::table::median;
use crate::command;
use anyhow::{Context, Result};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Connections of the recording for the rate: about 2.2 million events.
const CONNECTIONS: &str = "400000";
/// Live holds of the one for memory.
const HOLDS: &str = "200000";

/// Measures and prints.
pub(crate) fn run(root: &Path, rounds: u32) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let program = Program::build(root)?;
    let (busy, holding) = (folder.path().join("busy.plk"), folder.path().join("holding.plk"));
    program.run(&["write", &busy.to_string_lossy(), "--connections", CONNECTIONS])?;
    program.run(&["write", &holding.to_string_lossy(), "--connections", HOLDS, "--hold"])?;
    let (mut decoded, mut judged, mut per_hold) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        eprintln!("round {} of {rounds}", round + 1);
        decoded.push(program.measure("decode", &busy)?);
        judged.push(program.measure("judge", &busy)?);
        per_hold.extend(program.measure("judge", &holding)?.bytes_per_hold);
    }
    print!("{}", report(&decoded, &judged, &per_hold));
    Ok(())
}

/// A simulated month: fails if a sum is wrong, a leak is not found or a healthy owner is accused.
pub(crate) fn month(root: &Path, days: u32) -> Result<()> {
    print!("{}", Program::build(root)?.run(&["month", "--days", &days.to_string()])?);
    Ok(())
}

/// The program that writes and judges recordings.
pub(super) struct Program(PathBuf);

impl Program {
    pub(super) fn build(root: &Path) -> Result<Self> {
        let mut cargo = command::cargo(root);
        cargo.args([
            "build",
            "--release",
            "--locked",
            "--package",
            "portleak-tests",
            "--bin",
            "bench-replay",
        ]);
        command::run(&mut cargo)?;
        Ok(Self(command::target_dir(root).join("release/bench-replay")))
    }

    pub(super) fn run(&self, arguments: &[&str]) -> Result<String> {
        command::read(Command::new(&self.0).args(arguments))
    }

    pub(super) fn measure(&self, what: &str, recording: &Path) -> Result<Said> {
        let line = self.run(&[what, &recording.to_string_lossy()])?;
        serde_json::from_str(&line).with_context(|| format!("not a result: {line}"))
    }
}

/// What the program says at its end.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Said {
    events: f64,
    pub(super) cpu_s: f64,
    file_bytes: f64,
    bytes_per_hold: Option<f64>,
}

fn report(decoded: &[Said], judged: &[Said], per_hold: &[f64]) -> String {
    let rate = |all: &[Said]| median(&all.iter().map(|said| said.events / said.cpu_s).collect::<Vec<_>>());
    let size = judged.iter().map(|said| said.file_bytes / said.events).collect::<Vec<_>>();
    format!(
        "events/s of CPU, read        {:>12.0}\n\
         events/s of CPU, judged      {:>12.0}\n\
         bytes of memory a live hold  {:>12.0}\n\
         bytes of file an event       {:>12.1}\n",
        rate(decoded),
        rate(judged),
        median(per_hold),
        median(&size),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_round_is_told() {
        let said = |cpu_s| Said { events: 1e6, cpu_s, file_bytes: 7e6, bytes_per_hold: None };
        let report = report(&[said(0.1)], &[said(0.5), said(0.25), said(2.0)], &[150.0]);
        let figures: Vec<_> = report.lines().filter_map(|line| line.split_whitespace().last()).collect();
        assert_eq!(figures, ["10000000", "2000000", "150", "7.0"]);
    }
}
