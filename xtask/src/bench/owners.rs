//! `cargo xtask bench owners`: what a process that takes one port and ends costs, among few others and
//! among many.
//!
//! Needs no root: the recording is made up.

use super::replay::Program;
use super::table::median;
use anyhow::Result;
use std::path::Path;

/// Live owners beside the brief ones.
const FEW: &str = "100";
const MANY: &str = "20000";
/// Brief owners.
const BRIEF: u32 = 20_000;

/// Measures and prints.
pub(crate) fn run(root: &Path, rounds: u32) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let program = Program::build(root)?;
    let file = |live: &str, brief: u32| folder.path().join(format!("{live}-{brief}.plk"));
    for live in [FEW, MANY] {
        for brief in [0, BRIEF] {
            let path = file(live, brief);
            let brief = brief.to_string();
            program.run(&["write", &path.to_string_lossy(), "--owners", live, "--brief", &brief])?;
        }
    }
    let (mut few, mut many) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        eprintln!("round {} of {rounds}", round + 1);
        for (live, costs) in [(FEW, &mut few), (MANY, &mut many)] {
            let without = program.measure("judge", &file(live, 0))?.cpu_s;
            let with = program.measure("judge", &file(live, BRIEF))?.cpu_s;
            costs.push((with - without) / f64::from(BRIEF) * 1e6);
        }
    }
    print!("{}", report(&few, &many));
    Ok(())
}

fn report(few: &[f64], many: &[f64]) -> String {
    let (few, many) = (median(few), median(many));
    format!(
        "us of CPU a new owner, among {FEW:>5}  {few:>8.2}\n\
         us of CPU a new owner, among {MANY:>5}  {many:>8.2}\n\
         ratio                               {:>8.2}\n",
        many / few
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_that_of_the_middle_rounds() {
        let report = report(&[4.0, 5.0, 90.0], &[10.0, 1.0, 80.0]);
        let figures: Vec<_> = report.lines().filter_map(|line| line.split_whitespace().last()).collect();
        assert_eq!(figures, ["5.00", "10.00", "2.00"]);
    }
}
