//! The result: one line for each kernel, and why.

use super::steps::Verdict;
use crate::suites::Counts;
use std::fmt::Write as _;
use std::time::Duration;

/// What became of one series.
pub(crate) struct Row {
    /// The series, as it was asked for.
    pub(crate) series: String,
    /// What became of it.
    pub(crate) outcome: Outcome,
}

/// What became of a series.
pub(crate) enum Outcome {
    /// The archive has it no more.
    NotOffered,
    /// It could not be tried, for this reason.
    NotTried(String),
    /// It ran.
    Ran {
        /// The kernel, as it calls itself.
        release: String,
        /// How its steps ended.
        verdict: Verdict,
        /// How long it took from boot to end.
        time: Duration,
    },
}

impl Outcome {
    /// A series that was not tried counts as one test: skipped if nobody can, failed if we could not.
    pub(crate) fn counts(&self) -> Counts {
        match self {
            Self::NotOffered => Counts { skipped: 1, ..Counts::default() },
            Self::NotTried(_) => Counts { failed: 1, ..Counts::default() },
            Self::Ran { verdict, .. } => verdict.counts(),
        }
    }
}

/// The sum over all kernels.
pub(crate) fn sum(rows: &[Row]) -> Counts {
    rows.iter().map(|row| row.outcome.counts()).fold(Counts::default(), |sum, counts| Counts {
        passed: sum.passed + counts.passed,
        failed: sum.failed + counts.failed,
        skipped: sum.skipped + counts.skipped,
    })
}

/// The table, and below it what went wrong.
pub(crate) fn render(rows: &[Row]) -> String {
    let mut text = format!(
        "{:<7} {:<32} {:<7} {:>6} {:>6} {:>7} {:>6}\n",
        "SERIES", "KERNEL", "DOCTOR", "PASSED", "FAILED", "SKIPPED", "TIME"
    );
    rows.iter().for_each(|row| text += &line(row));
    rows.iter().for_each(|row| text += &complaints(row));
    text
}

fn line(row: &Row) -> String {
    let series = &row.series;
    match &row.outcome {
        Outcome::NotOffered => {
            format!("{series:<7} SKIPPED: Debian's archive offers no such kernel any more\n")
        }
        Outcome::NotTried(_) => format!("{series:<7} FAILED: could not be tried\n"),
        Outcome::Ran { release, verdict, time } => {
            let doctor = if verdict.doctor.is_ok() { "ok" } else { "FAILED" };
            let tests = match &verdict.live {
                Ok(Counts { passed, failed, skipped }) => format!("{passed:>6} {failed:>6} {skipped:>7}"),
                Err(_) => format!("{:>21}", "NO RESULT"),
            };
            format!("{series:<7} {release:<32} {doctor:<7} {tests} {:>4} s\n", time.as_secs())
        }
    }
}

fn complaints(row: &Row) -> String {
    let mut text = String::new();
    let mut complain = |what: &str, why: &str| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "\n{}, {what}: {why}", row.series);
    };
    match &row.outcome {
        Outcome::NotOffered => {}
        Outcome::NotTried(why) => complain("not tried", why),
        Outcome::Ran { verdict, .. } => {
            if let Err(why) = &verdict.doctor {
                complain("portleak doctor", why);
            }
            if let Err(why) = &verdict.live {
                complain("live tests", why);
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Row> {
        let row = |series: &str, outcome| Row { series: series.to_owned(), outcome };
        let ran = |doctor, live| Outcome::Ran {
            release: "6.1.0-56-cloud-amd64".to_owned(),
            verdict: Verdict { doctor, live },
            time: Duration::from_secs(154),
        };
        let counts = Counts { passed: 24, failed: 1, skipped: 1 };
        vec![
            row("5.10", Outcome::NotOffered),
            row("6.1", ran(Ok(()), Ok(counts))),
            row("6.12", ran(Err("hook sock_ops is off: EINVAL".into()), Err("a panic".into()))),
            row("newest", Outcome::NotTried("no room".into())),
        ]
    }

    #[test]
    fn every_kernel_has_its_line_and_every_failure_its_reason() {
        let expected = "\
SERIES  KERNEL                           DOCTOR  PASSED FAILED SKIPPED   TIME
5.10    SKIPPED: Debian's archive offers no such kernel any more
6.1     6.1.0-56-cloud-amd64             ok          24      1       1  154 s
6.12    6.1.0-56-cloud-amd64             FAILED              NO RESULT  154 s
newest  FAILED: could not be tried

6.12, portleak doctor: hook sock_ops is off: EINVAL

6.12, live tests: a panic

newest, not tried: no room
";
        assert_eq!(render(&rows()), expected);
    }

    #[test]
    fn nothing_is_lost_in_the_sum() {
        assert_eq!(sum(&rows()), Counts { passed: 25, failed: 4, skipped: 2 });
    }
}
