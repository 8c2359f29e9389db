//! `cargo xtask bench storm`: what tracing costs, measured as ratios within one run.
//!
//! Figures of two runs do not compare: machines drift by more than a tracer costs. So every round
//! measures every variant, in turn, and a variant is compared with the bare run of its own round.

mod table;
mod tracer;

use crate::command;
use crate::machine;
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::Command;
use table::{Measurement, Storm};
use tracer::{Tracer, Variant};

const CONNECTIONS: u64 = 20_000;
const DESTINATIONS: u64 = 64;

/// Measures and prints the table.
pub(crate) fn storm(root: &Path, rounds: u32) -> Result<()> {
    ensure!(
        machine::is_root(),
        "tracing needs root: sudo -E cargo xtask bench storm"
    );
    let programs = Programs::build(root)?;
    let mut variants = Variant::on_this_machine(&programs.portleak);
    let mut measurements = Vec::new();
    programs.storm()?; // Warms caches and the CPU's clock.
    for round in 0..rounds {
        eprintln!("round {} of {rounds}", round + 1);
        measurements.extend(measure_round(&programs, round, &mut variants)?);
    }
    print!("{}", table::render(&measurements));
    Ok(())
}

/// One storm for each variant. One that does not start is said so and left out from then on.
fn measure_round(
    programs: &Programs,
    round: u32,
    variants: &mut Vec<Variant>,
) -> Result<Vec<Measurement>> {
    let mut measurements = vec![Measurement {
        variant: "none",
        round,
        storm: programs.storm()?,
        cost: None,
    }];
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
        let storm = programs.storm();
        let cost = tracer.stop()?;
        measurements.push(Measurement {
            variant: variant.name,
            round,
            storm: storm?,
            cost: Some(cost),
        });
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
        cargo.args(["build", "--release", "--locked", "--package", "tracer"]);
        command::run(cargo.args(["--bin", "portleak", "--example", "workload"]))?;
        let release = command::target_dir(root).join("release");
        Ok(Self {
            portleak: release.join("portleak"),
            workload: release.join("examples/workload"),
        })
    }

    fn storm(&self) -> Result<Storm> {
        let mut workload = Command::new(&self.workload);
        workload.args(["--own-netns", "storm"]);
        workload.args(["--connections", &CONNECTIONS.to_string()]);
        workload.args(["--destinations", &DESTINATIONS.to_string()]);
        parse_storm(&command::read(&mut workload)?)
    }
}

/// What the workload says at its end.
#[derive(Deserialize)]
struct Said {
    connections: u32,
    seconds: f64,
    cpu_s: f64,
}

fn parse_storm(line: &str) -> Result<Storm> {
    let said: Said = serde_json::from_str(line).with_context(|| format!("not a result: {line}"))?;
    let connections = f64::from(said.connections);
    ensure!(
        connections > 0.0 && said.seconds > 0.0,
        "an empty storm: {line}"
    );
    Ok(Storm {
        connections_per_s: connections / said.seconds,
        cpu_us_per_connection: said.cpu_s * 1e6 / connections,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workloads_line_is_read() {
        let storm = parse_storm(r#"{"connections":20000,"seconds":0.5,"cpu_s":0.4}"#).unwrap();
        assert!((storm.connections_per_s - 40_000.0).abs() < 0.1);
        assert!((storm.cpu_us_per_connection - 20.0).abs() < 0.001);
    }

    #[test]
    fn no_result_is_an_error() {
        assert!(parse_storm("").is_err());
        assert!(parse_storm(r#"{"connections":0,"seconds":0.5,"cpu_s":0.4}"#).is_err());
    }
}
