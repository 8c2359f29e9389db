//! `cargo xtask bench storm` and `bench traffic`: what tracing costs, measured as ratios within one run.
//!
//! Figures of two runs do not compare: machines drift by more than a tracer costs. So every round
//! measures every variant, in turn, and a variant is compared with the bare run of its own round.

pub(crate) mod owners;
pub(crate) mod replay;
mod table;
mod tracer;

use crate::command;
use crate::machine;
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::Command;
use table::{Measurement, Work};
use tracer::{Tracer, Variant};

/// What is done while a tracer runs or does not.
struct Load {
    /// One of what is counted.
    unit: &'static str,
    /// The workload's command.
    arguments: &'static [&'static str],
}

/// Takes and gives back ports as fast as one thread can.
const STORM: Load =
    Load { unit: "connection", arguments: &["storm", "--connections", "20000", "--destinations", "64"] };
/// What a host does that opens no ports: none of it is the tracer's business.
/// First as much as a busy host does, 200,000 datagrams and 1 Gbit a second, then as much as it can.
const TRAFFIC: [Load; 4] = [
    Load { unit: "datagram", arguments: &["datagrams", "--count", "400000", "--per-second", "200000"] },
    Load { unit: "megabyte", arguments: &["stream", "--megabytes", "250", "--per-second", "125"] },
    Load { unit: "datagram", arguments: &["datagrams", "--count", "400000"] },
    Load { unit: "megabyte", arguments: &["stream", "--megabytes", "2000"] },
];

/// What tracing costs those who take ports, portleak's and its peers'.
pub(crate) fn storm(root: &Path, rounds: u32) -> Result<()> {
    let programs = Programs::build(root)?;
    let variants = Variant::on_this_machine(&programs.portleak);
    compare(&programs, &STORM, variants, rounds)
}

/// What tracing costs those who take none.
pub(crate) fn traffic(root: &Path, rounds: u32) -> Result<()> {
    let programs = Programs::build(root)?;
    TRAFFIC
        .iter()
        .try_for_each(|load| compare(&programs, load, vec![Variant::portleak(&programs.portleak)], rounds))
}

/// Measures and prints the table.
fn compare(programs: &Programs, load: &Load, mut variants: Vec<Variant>, rounds: u32) -> Result<()> {
    ensure!(machine::is_root(), "tracing needs root: sudo -E cargo xtask bench");
    let mut measurements = Vec::new();
    programs.work(load)?; // Warms caches and the CPU's clock.
    for round in 0..rounds {
        eprintln!("round {} of {rounds}", round + 1);
        measurements.extend(measure_round(programs, load, round, &mut variants)?);
    }
    print!("{}", table::render(load.unit, &measurements));
    Ok(())
}

/// The load once for each variant. One that does not start is said so and left out from then on.
fn measure_round(
    programs: &Programs,
    load: &Load,
    round: u32,
    variants: &mut Vec<Variant>,
) -> Result<Vec<Measurement>> {
    let mut measurements =
        vec![Measurement { variant: "none", round, work: programs.work(load)?, cost: None }];
    let mut broken = Vec::new();
    for variant in variants.iter() {
        let tracer = match Tracer::start(variant) {
            Ok(tracer) => tracer,
            Err(error) => {
                eprintln!("{} is left out: {error:#}", variant.name);
                broken.push(variant.name);
                continue;
            }
        };
        let work = programs.work(load);
        let cost = tracer.stop()?;
        measurements.push(Measurement { variant: variant.name, round, work: work?, cost: Some(cost) });
    }
    variants.retain(|variant| !broken.contains(&variant.name));
    Ok(measurements)
}

struct Programs {
    portleak: PathBuf,
    workload: PathBuf,
}

impl Programs {
    fn build(root: &Path) -> Result<Self> {
        let mut cargo = command::cargo(root);
        cargo.args([
            "build",
            "--release",
            "--locked",
            "--package",
            "portleak",
            "--package",
            "portleak-tests",
        ]);
        command::run(cargo.args(["--bin", "portleak", "--bin", "workload"]))?;
        let release = command::target_dir(root).join("release");
        Ok(Self { portleak: release.join("portleak"), workload: release.join("workload") })
    }

    fn work(&self, load: &Load) -> Result<Work> {
        let mut workload = Command::new(&self.workload);
        workload.arg("--own-netns").args(load.arguments);
        parse_work(&command::read(&mut workload)?)
    }
}

/// What the workload says at its end.
#[derive(Deserialize)]
struct Said {
    /// How many of the load's unit.
    done: u32,
    seconds: f64,
    cpu_s: f64,
}

fn parse_work(line: &str) -> Result<Work> {
    let said: Said = serde_json::from_str(line).with_context(|| format!("not a result: {line}"))?;
    let done = f64::from(said.done);
    ensure!(done > 0.0 && said.seconds > 0.0, "nothing was done: {line}");
    Ok(Work { per_s: done / said.seconds, cpu_us_each: said.cpu_s * 1e6 / done })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workloads_line_is_read() {
        let work = parse_work(r#"{"done":20000,"seconds":0.5,"cpu_s":0.4}"#).unwrap();
        assert!((work.per_s - 40_000.0).abs() < 0.1);
        assert!((work.cpu_us_each - 20.0).abs() < 0.001);
    }

    #[test]
    fn no_result_is_an_error() {
        assert!(parse_work("").is_err());
        assert!(parse_work(r#"{"done":0,"seconds":0.5,"cpu_s":0.4}"#).is_err());
    }
}
