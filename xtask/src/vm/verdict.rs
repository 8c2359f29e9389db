//! What came out of a guest's steps.

use super::guest::Said;
use super::steps::{DOCTOR, TESTS};
use super::workloads::Workloads;
use crate::suites::{self, Counts};
use serde::Deserialize;

/// How init.sh marks its own lines.
const MARK: &str = "::vm:: ";
/// How much of the console tells why a guest died.
const LAST_LINES: usize = 30;

/// How the steps ended on one kernel.
pub(crate) struct Verdict {
    /// What portleak says is limited there, or which hook is not on.
    pub(crate) doctor: Result<Vec<String>, String>,
    /// The tests of each step, or why there is no result.
    pub(crate) tests: Vec<(&'static str, Result<Counts, String>)>,
    /// How each workload was told.
    pub(crate) workloads: Workloads,
}

impl Verdict {
    /// Reads what the guest said.
    pub(crate) fn of(said: &Said) -> Self {
        Self {
            doctor: doctor(said),
            tests: TESTS.iter().map(|name| (*name, tests(said, name))).collect(),
            workloads: Workloads::read(&said.output),
        }
    }

    /// The doctor is one test among the others, and so is a step without a result.
    pub(crate) fn counts(&self) -> Counts {
        let healthy = u32::from(self.doctor.is_ok());
        let doctor = Counts { passed: healthy, failed: 1 - healthy, skipped: 0 };
        let tests = self.tests.iter().map(|(_, result)| match result {
            Ok(counts) => *counts,
            Err(_) => Counts { failed: 1, ..Counts::default() },
        });
        tests.fold(doctor, Counts::plus)
    }
}

/// What a step wrote, once it has ended, and its exit code.
fn step<'a>(said: &'a Said, name: &str) -> Result<(&'a str, &'a str), String> {
    let begin = format!("\n{MARK}begin {name}\n");
    let end = format!("\n{MARK}end {name} ");
    let (_, rest) = said.output.split_once(&begin).ok_or_else(|| death(said, "came before this step"))?;
    let Some((text, rest)) = rest.split_once(&end) else {
        return Err(format!("{}{}", death(said, "came during this step"), words("step", rest)));
    };
    Ok((text, rest.lines().next().unwrap_or_default()))
}

fn death(said: &Said, when: &str) -> String {
    let end = if said.too_long { "time limit" } else { "guest's end" };
    format!("the {end} {when}{}", words("kernel", &said.console))
}

/// The last of them, if there are any.
fn words(whose: &str, said: &str) -> String {
    let lines: Vec<_> = said.trim().lines().collect();
    let last = lines[lines.len().saturating_sub(LAST_LINES)..].join("\n  ");
    if last.is_empty() { last } else { format!("\n  the {whose}'s last words:\n  {last}") }
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

/// Hooks that a kernel may refuse: what they show is read from /proc there. `socket_files` asks for a
/// file's socket (`bpf_sock_from_file`, since 5.11).
const OPTIONAL: [&str; 1] = ["socket_files"];

/// Every other hook must be on: these kernels refuse none. What is limited there is reported by name.
fn doctor(said: &Said) -> Result<Vec<String>, String> {
    let (text, code) = step(said, DOCTOR)?;
    let answer = text.lines().find_map(|line| serde_json::from_str::<Doctor>(line).ok());
    let Some(answer) = answer.filter(|answer| code == "0" && !answer.hooks.is_empty()) else {
        return Err(format!("portleak doctor ended with {code} and said\n  {}", text.trim_end()));
    };
    let off = answer.hooks.iter().filter(|hook| hook.state != "on");
    let (optional, needed): (Vec<_>, Vec<_>) = off.partition(|hook| OPTIONAL.contains(&hook.name.as_str()));
    let shown =
        |hook: &Hook| format!("hook {} is {}: {}", hook.name, hook.state, hook.why.as_deref().unwrap_or("?"));
    if !needed.is_empty() {
        return Err(needed.into_iter().map(shown).collect::<Vec<_>>().join("\n  "));
    }
    let limits = answer.degraded.iter().map(|limit| format!("{}: {}", limit.feature, limit.why));
    Ok(optional.into_iter().map(shown).chain(limits).collect())
}

fn tests(said: &Said, name: &str) -> Result<Counts, String> {
    let (text, code) = step(said, name)?;
    match suites::parse(text).as_slice() {
        [suite] if (code == "0") == (suite.counts.failed == 0) => Ok(suite.counts),
        _ => Err(format!("the tests ended with {code} and said\n{}", text.trim_end())),
    }
}

/// The tests' accounts of what failed.
pub(crate) fn failures(said: &Said) -> Vec<&str> {
    let texts = TESTS.iter().filter_map(|name| step(said, name).ok());
    let failures = texts.filter_map(|(text, _)| text.split_once("\nfailures:\n"));
    failures.map(|(_, failures)| failures.trim_end()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(output: &str) -> Said {
        Said { console: "Kernel panic\n".into(), output: output.into(), too_long: false }
    }

    fn steps(doctor: &str, live: &str) -> Said {
        let mut output = "::vm:: booted 6.1 after 2.1 s\n".to_owned();
        let mut step = |name: &str, text: &str| {
            output += &format!("\n::vm:: begin {name}\n{text}\n\n::vm:: end {name} 0\n");
        };
        step(DOCTOR, doctor);
        step(TESTS[0], live);
        TESTS[1..].iter().for_each(|name| step(name, ONE));
        said(&output)
    }

    const HEALTHY: &str = r#"{"type":"doctor","hooks":[{"name":"sock_ops","state":"on"}],"degraded":[]}"#;
    const PASSED: &str =
        "test result: ok. 26 passed; 0 failed; 1 ignored; 0 measured; 5 filtered out; finished in 9.00s";
    const ONE: &str =
        "test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 9.00s";

    #[test]
    fn all_is_well() {
        let verdict = Verdict::of(&steps(HEALTHY, PASSED));
        assert_eq!(verdict.doctor, Ok(Vec::new()));
        assert_eq!(verdict.counts(), Counts { passed: 30, failed: 0, skipped: 1 });
    }

    #[test]
    fn a_hook_that_a_kernel_may_refuse_is_a_limit() {
        let answer = r#"{"hooks":[{"name":"socket_files","state":"off","why":"EINVAL"}],"degraded":[]}"#;
        let verdict = Verdict::of(&steps(answer, PASSED));
        assert_eq!(verdict.doctor, Ok(vec!["hook socket_files is off: EINVAL".to_owned()]));
    }

    #[test]
    fn a_hook_that_is_off_is_told_with_its_reason() {
        let answer = r#"{"hooks":[{"name":"sock_ops","state":"off","why":"EINVAL"}],"degraded":[]}"#;
        let verdict = Verdict::of(&steps(answer, PASSED));
        assert_eq!(verdict.doctor, Err("hook sock_ops is off: EINVAL".into()));
        assert_eq!(verdict.counts(), Counts { passed: 29, failed: 1, skipped: 1 });
    }

    #[test]
    fn a_limit_is_no_failure() {
        let limit = r#"{"feature":"failures of bind(0)","why":"no tracepoint","remedy":"none"}"#;
        let answer = HEALTHY.replace("[]", &format!("[{limit}]"));
        let verdict = Verdict::of(&steps(&answer, PASSED));
        assert_eq!(verdict.doctor, Ok(vec!["failures of bind(0): no tracepoint".into()]));
    }

    #[test]
    fn a_doctor_that_says_nothing_is_not_well() {
        assert!(Verdict::of(&steps("portleak: no", PASSED)).doctor.is_err());
    }

    #[test]
    fn a_guest_that_dies_has_failed_with_its_last_words() {
        let verdict = Verdict::of(&said("\n::vm:: begin doctor\nhello"));
        let doctor = verdict.doctor.clone().unwrap_err();
        assert!(doctor.starts_with("the guest's end came during this step"));
        assert!(doctor.ends_with("hello"));
        let live = verdict.tests[0].1.clone().unwrap_err();
        assert!(live.starts_with("the guest's end came before this step"));
        assert!(live.ends_with("Kernel panic"));
        assert_eq!(verdict.counts(), Counts { passed: 0, failed: 5, skipped: 0 });
    }

    #[test]
    fn tests_that_die_have_failed() {
        assert!(Verdict::of(&steps(HEALTHY, "running 26 tests\ntest a ... ")).tests[0].1.is_err());
    }
}
