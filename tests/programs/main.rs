//! Small real programs, in Rust and Python, with clients and pools that people use: those that leak
//! are found, with the right owner and call site, and nobody else is accused.
//!
//! They all run at once, for little more than a minute. Each is a test of its own in the result; one
//! that cannot run here is told as ignored, with the reason. `table.rs` has them all.

#![cfg_attr(
    target_os = "linux",
    expect(clippy::print_stdout, reason = "it says of each program what was said of it")
)]

#[cfg(target_os = "linux")]
mod runner;
#[cfg(target_os = "linux")]
mod table;
#[cfg(target_os = "linux")]
mod verdict;

#[cfg(not(target_os = "linux"))]
fn main() {}

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    linux::main()
}

#[cfg(target_os = "linux")]
mod linux {
    use crate::runner::Runner;
    use crate::table::{Needs, ROWS, Row};
    use crate::verdict;
    use libtest_mimic::{Arguments, Completion, Failed, Trial};
    use serde_json::Value;
    use std::fs;
    use std::process::ExitCode;

    /// How a program came out.
    type Outcome = Result<Completion, Failed>;

    pub(crate) fn main() -> ExitCode {
        let arguments = Arguments::from_args();
        let trial = |row: &Row, outcome: Outcome| {
            // Needs root: `cargo xtask test`.
            Trial::ignorable_test(row.name, move || outcome).with_ignored_flag(true)
        };
        let wanted = |row: &&Row| !arguments.is_filtered_out(&trial(row, Ok(Completion::Completed)));
        let rows: Vec<_> = ROWS.iter().filter(wanted).collect();
        let outcomes = if !arguments.list && (arguments.include_ignored || arguments.ignored) {
            run(&rows)
        } else {
            rows.iter().map(|_| Ok(Completion::Completed)).collect()
        };
        let trials = rows.into_iter().zip(outcomes).map(|(row, outcome)| trial(row, outcome));
        libtest_mimic::run(&arguments, trials.collect()).exit_code()
    }

    fn run(rows: &[&Row]) -> Vec<Outcome> {
        let all_failed = |why: String| rows.iter().map(|_| Err(Failed::from(&why))).collect();
        let runner = match Runner::new() {
            Ok(runner) => runner,
            Err(error) => return all_failed(error.to_string()),
        };
        let obstacles = [Needs::Nothing, Needs::Python, Needs::PyPi].map(|needs| runner.obstacle(needs));
        let obstacle = |row: &Row| obstacles[row.needs as usize].clone();
        let able: Vec<_> = rows.iter().copied().filter(|row| obstacle(row).is_none()).collect();
        let lines = match runner.run(&able).and_then(|trace| lines(&fs::read_to_string(trace))) {
            Ok(lines) => lines,
            Err(error) => return all_failed(error),
        };
        let outcome = |row: &&Row| {
            if let Some(why) = obstacle(row) {
                return Ok(Completion::ignored_with(why));
            }
            let told = runner.said(row).and_then(|said| verdict::check(&lines, &said, row.expected))?;
            println!("{}: {told}", row.name);
            Ok(Completion::Completed)
        };
        let outcomes: Vec<Outcome> = rows.iter().map(outcome).collect();
        if outcomes.iter().any(Result::is_err) {
            println!("to look at it again: portleak replay {}", runner.recording().display());
        }
        outcomes
    }

    fn lines(text: &std::io::Result<String>) -> Result<Vec<Value>, String> {
        let text = text.as_ref().map_err(ToString::to_string)?;
        text.lines().map(|line| serde_json::from_str(line).map_err(|error| error.to_string())).collect()
    }
}
