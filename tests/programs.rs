//! Small real programs, in Rust and Python, with clients and pools that people use: those that leak
//! are found, with the right owner and call site, and nobody else is accused.
//!
//! They all run at once, for little more than a minute. Each is a test of its own in the result; one
//! that cannot run here is told as ignored, with the reason. `table.rs` has them all.

#![cfg_attr(
    target_os = "linux",
    expect(clippy::print_stdout, reason = "it says of each program how it came out, as libtest does")
)]

#[cfg(target_os = "linux")]
#[path = "programs/crew.rs"]
mod crew;
#[cfg(target_os = "linux")]
#[path = "programs/table.rs"]
mod table;
#[cfg(target_os = "linux")]
#[path = "programs/verdict.rs"]
mod verdict;

#[cfg(not(target_os = "linux"))]
fn main() {}

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    linux::main()
}

#[cfg(target_os = "linux")]
mod linux {
    use crate::crew::Crew;
    use crate::table::{Needs, ROWS, Row};
    use crate::verdict;
    use serde_json::Value;
    use std::fs;
    use std::process::ExitCode;
    use std::time::Instant;

    /// How a program came out.
    enum Outcome {
        Passed(String),
        Failed(String),
        Ignored(String),
    }

    pub(crate) fn main() -> ExitCode {
        let arguments: Vec<_> = std::env::args().skip(1).collect();
        let asked = |option: &str| arguments.iter().any(|argument| argument == option);
        let wanted: Vec<_> = arguments.iter().filter(|argument| !argument.starts_with("--")).collect();
        let rows: Vec<_> = ROWS
            .iter()
            .filter(|row| wanted.is_empty() || wanted.iter().any(|name| row.name.contains(name.as_str())))
            .collect();
        if asked("--list") {
            rows.iter().for_each(|row| println!("{}: test", row.name));
            return ExitCode::SUCCESS;
        }
        println!("\nrunning {} tests", rows.len());
        let started = Instant::now();
        let outcomes = if asked("--include-ignored") || asked("--ignored") {
            run(&rows)
        } else {
            let why = "needs root: cargo xtask test";
            rows.iter().map(|_| Outcome::Ignored(why.to_owned())).collect()
        };
        tell(&rows, &outcomes, started)
    }

    fn run(rows: &[&Row]) -> Vec<Outcome> {
        let all_failed = |why: String| rows.iter().map(|_| Outcome::Failed(why.clone())).collect();
        let crew = match Crew::new() {
            Ok(crew) => crew,
            Err(error) => return all_failed(error.to_string()),
        };
        let obstacles = [Needs::Nothing, Needs::Python, Needs::PyPi].map(|needs| crew.obstacle(needs));
        let obstacle = |row: &Row| obstacles[row.needs as usize].clone();
        let able: Vec<_> = rows.iter().copied().filter(|row| obstacle(row).is_none()).collect();
        let lines = match crew.run(&able).and_then(|trace| lines(&fs::read_to_string(trace))) {
            Ok(lines) => lines,
            Err(error) => return all_failed(error),
        };
        let outcome = |row: &&Row| {
            if let Some(why) = obstacle(row) {
                return Outcome::Ignored(why);
            }
            let checked = crew.said(row).and_then(|said| verdict::check(&lines, &said, row.expected));
            checked.map_or_else(Outcome::Failed, Outcome::Passed)
        };
        let outcomes: Vec<_> = rows.iter().map(outcome).collect();
        if outcomes.iter().any(|outcome| matches!(outcome, Outcome::Failed(_))) {
            println!("to look at it again: portleak replay {}", crew.recording().display());
        }
        outcomes
    }

    fn lines(text: &std::io::Result<String>) -> Result<Vec<Value>, String> {
        let text = text.as_ref().map_err(ToString::to_string)?;
        text.lines().map(|line| serde_json::from_str(line).map_err(|error| error.to_string())).collect()
    }

    /// As libtest says it, so that whoever counts tests counts these.
    fn tell(rows: &[&Row], outcomes: &[Outcome], started: Instant) -> ExitCode {
        let [mut passed, mut failed, mut ignored] = [0; 3];
        for (row, outcome) in rows.iter().zip(outcomes) {
            let said = match outcome {
                Outcome::Passed(what) => {
                    passed += 1;
                    format!("ok: {what}")
                }
                Outcome::Failed(why) => {
                    failed += 1;
                    format!("FAILED: {why}")
                }
                Outcome::Ignored(why) => {
                    ignored += 1;
                    format!("ignored, {why}")
                }
            };
            println!("test {} ... {said}", row.name);
        }
        let result = if failed == 0 { "ok" } else { "FAILED" };
        let took = started.elapsed().as_secs_f64();
        println!(
            "\ntest result: {result}. {passed} passed; {failed} failed; {ignored} ignored; 0 measured; \
             0 filtered out; finished in {took:.2}s\n"
        );
        ExitCode::from(u8::from(failed > 0))
    }
}
