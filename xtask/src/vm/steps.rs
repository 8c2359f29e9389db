//! What is done in the guest, and what came out.

use super::guest::Said;
use super::programs::Programs;
use crate::suites::{self, Counts};
use serde::Deserialize;
use std::path::Path;

const DOCTOR: &str = "doctor";
const LIVE: &str = "live";
/// How init.sh marks its own lines.
const MARK: &str = "::vm:: ";
/// How much of the console tells why a guest died.
const LAST_LINES: usize = 30;

/// Live tests that take a minute or more of a kernel's four when emulated, and why the kernel hardly
/// matters to them.
const LONG: [(&str, &str); 5] = [
    // Numbers of sockets are the machine's affair; every kind of them is in the test of older
    // sockets, and one_busy_process has 26,000.
    ("exactness::sockets_older_than_the_tracer_are_all_found", "36,000 sockets"),
    ("exactness::thirty_six_thousand_live_sockets_are_all_tracked", "36,000 sockets"),
    // What a verdict follows from are events, the same from every kernel.
    ("verdicts::a_leak_is_told_in_steps_and_counted_exactly", "a minute of leaking"),
    ("verdicts::a_leak_is_told_while_its_command_runs", "a minute of leaking"),
    ("verdicts::healthy_programs_are_left_alone", "half a minute of health"),
];

/// Which of the live tests run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// All of them.
    All,
    /// All but the long ones.
    Short,
}

impl Choice {
    fn left_out(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::All => &[],
            Self::Short => &LONG,
        }
    }

    /// What is left out and why, for a person; nothing if all runs.
    pub(crate) fn explained(self) -> String {
        let left_out = self.left_out().iter();
        let lines = left_out.map(|(test, why)| format!("left out without --all: {test} ({why})\n"));
        lines.collect()
    }
}

/// The steps as a script for the guest's shell.
pub(crate) fn script(programs: &Programs, choice: Choice) -> String {
    let [portleak, live] = [&programs.portleak, &programs.live].map(|path| quoted(path));
    // With --exact a test is skipped by its full name only.
    let skips: String = choice.left_out().iter().map(|(test, _)| format!(" --skip {test}")).collect();
    format!(
        "step {DOCTOR} {portleak} doctor --format json\n\
         step {LIVE} {live} --include-ignored --test-threads=1 --exact{skips}\n"
    )
}

fn quoted(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', r"'\''"))
}

/// How the steps ended on one kernel.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// That every hook is on, or what is wrong.
    pub(crate) doctor: Result<(), String>,
    /// The live tests, or why there is no result.
    pub(crate) live: Result<Counts, String>,
}

impl Verdict {
    /// The doctor is one test among the others.
    pub(crate) fn counts(&self) -> Counts {
        let live = self.live.as_ref().copied().unwrap_or(Counts { failed: 1, ..Counts::default() });
        let healthy = u32::from(self.doctor.is_ok());
        Counts { passed: live.passed + healthy, failed: live.failed + 1 - healthy, ..live }
    }
}

/// Reads what the guest said.
pub(crate) fn judge(said: &Said) -> Verdict {
    Verdict { doctor: doctor(said), live: live(said) }
}

/// What a step wrote, once it has ended, and its exit code.
fn step<'a>(said: &'a Said, name: &str) -> Result<(&'a str, &'a str), String> {
    let begin = format!("\n{MARK}begin {name}\n");
    let end = format!("\n{MARK}end {name} ");
    let (_, rest) = said.output.split_once(&begin).ok_or_else(|| death(said, "came before this step"))?;
    let (text, rest) = rest.split_once(&end).ok_or_else(|| death(said, "came during this step"))?;
    Ok((text, rest.lines().next().unwrap_or_default()))
}

fn death(said: &Said, when: &str) -> String {
    let lines: Vec<_> = said.console.lines().collect();
    let last = lines[lines.len().saturating_sub(LAST_LINES)..].join("\n  ");
    let end = if said.too_long { "time limit" } else { "guest's end" };
    format!("the {end} {when}; the kernel's last words:\n  {last}")
}

/// The part of portleak's answer that matters here.
#[derive(Deserialize)]
struct Doctor {
    hooks: Vec<Hook>,
    degraded: Vec<Degraded>,
}

#[derive(Deserialize)]
struct Hook {
    name: String,
    state: String,
    #[serde(default)]
    why: Option<String>,
}

#[derive(Deserialize)]
struct Degraded {
    feature: String,
    why: String,
}

fn doctor(said: &Said) -> Result<(), String> {
    let (text, code) = step(said, DOCTOR)?;
    let answer = text.lines().find_map(|line| serde_json::from_str::<Doctor>(line).ok());
    let Some(answer) = answer.filter(|answer| code == "0" && !answer.hooks.is_empty()) else {
        return Err(format!("portleak doctor ended with {code} and said\n  {}", text.trim_end()));
    };
    let off = answer.hooks.iter().filter(|hook| hook.state != "on");
    let off = off
        .map(|hook| format!("hook {} is {}: {}", hook.name, hook.state, hook.why.as_deref().unwrap_or("?")));
    let limits = answer.degraded.iter().map(|limit| format!("limited: {}: {}", limit.feature, limit.why));
    let complaints: Vec<_> = off.chain(limits).collect();
    if complaints.is_empty() { Ok(()) } else { Err(complaints.join("\n  ")) }
}

fn live(said: &Said) -> Result<Counts, String> {
    let (text, code) = step(said, LIVE)?;
    match suites::parse(text).as_slice() {
        [suite] if (code == "0") == (suite.counts.failed == 0) => {
            let skipped = suite.counts.skipped + left_out(text);
            Ok(Counts { skipped, ..suite.counts })
        }
        _ => Err(format!("the live tests ended with {code} and said\n{}", text.trim_end())),
    }
}

/// How many tests did not run because of their names: `…; 5 filtered out; …`.
fn left_out(text: &str) -> u32 {
    let number = text.rsplit_once(" filtered out").and_then(|(before, _)| before.rsplit(' ').next());
    number.and_then(|number| number.parse().ok()).unwrap_or_default()
}

/// The live tests' account of what failed.
pub(crate) fn failures(said: &Said) -> Option<&str> {
    let (text, _) = step(said, LIVE).ok()?;
    let (_, failures) = text.split_once("\nfailures:\n")?;
    Some(failures.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(output: &str) -> Said {
        Said { console: "Kernel panic\n".into(), output: output.into(), too_long: false }
    }

    fn steps(doctor: &str, live: &str) -> Said {
        said(&format!(
            "::vm:: booted 6.1 after 2.1 s\n\n::vm:: begin doctor\n{doctor}\n::vm:: end doctor 0\n\
             \n::vm:: begin live\n{live}\n::vm:: end live 0\n"
        ))
    }

    const HEALTHY: &str = r#"{"type":"doctor","hooks":[{"name":"sock_ops","state":"on"}],"degraded":[]}"#;
    const PASSED: &str =
        "test result: ok. 26 passed; 0 failed; 1 ignored; 0 measured; 5 filtered out; finished in 9.00s";

    #[test]
    fn all_is_well() {
        let verdict = judge(&steps(HEALTHY, PASSED));
        assert_eq!(verdict.doctor, Ok(()));
        assert_eq!(verdict.counts(), Counts { passed: 27, failed: 0, skipped: 6 });
    }

    #[test]
    fn a_hook_that_is_off_is_told_with_its_reason() {
        let answer = r#"{"hooks":[{"name":"sock_ops","state":"off","why":"EINVAL"}],"degraded":[]}"#;
        let verdict = judge(&steps(answer, PASSED));
        assert_eq!(verdict.doctor, Err("hook sock_ops is off: EINVAL".into()));
        assert_eq!(verdict.counts(), Counts { passed: 26, failed: 1, skipped: 6 });
    }

    #[test]
    fn a_doctor_that_says_nothing_is_not_well() {
        assert!(judge(&steps("portleak: no", PASSED)).doctor.is_err());
    }

    #[test]
    fn a_guest_that_dies_has_failed_with_its_last_words() {
        let verdict = judge(&said("\n::vm:: begin doctor\n{}"));
        let [doctor, live] = [verdict.doctor.clone().unwrap_err(), verdict.live.clone().unwrap_err()];
        assert!(doctor.starts_with("the guest's end came during this step"));
        assert!(live.starts_with("the guest's end came before this step"));
        assert!(live.ends_with("Kernel panic"));
        assert_eq!(verdict.counts(), Counts { passed: 0, failed: 2, skipped: 0 });
    }

    #[test]
    fn tests_that_die_have_failed() {
        assert!(judge(&steps(HEALTHY, "running 26 tests\ntest a ... ")).live.is_err());
    }

    #[test]
    fn what_is_left_out_is_named() {
        assert_eq!(Choice::All.explained(), "");
        assert_eq!(Choice::Short.explained().lines().count(), LONG.len());
        let programs = Programs { portleak: "/p".into(), live: "/l".into(), files: Vec::new() };
        let script = script(&programs, Choice::Short);
        assert!(script.ends_with(" --skip verdicts::healthy_programs_are_left_alone\n"));
    }

    #[test]
    fn a_path_survives_the_shell() {
        assert_eq!(quoted(Path::new("/it's")), r"'/it'\''s'");
    }
}
