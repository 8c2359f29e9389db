//! The result: one line for each kernel, and why.

use super::verdict::Verdict;
use super::workloads::{self, Workloads};
use crate::suites::Counts;
use std::fmt::Write as _;
use std::time::Duration;

/// All that came out.
pub(crate) struct Table {
    /// The workloads on this machine's own kernel; empty if they were not tried there.
    pub(crate) here: Workloads,
    /// The other kernels.
    pub(crate) rows: Vec<Row>,
}

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

impl Table {
    /// The sum over all kernels but this machine's.
    pub(crate) fn sum(&self) -> Counts {
        self.rows.iter().map(|row| row.outcome.counts()).fold(Counts::default(), Counts::plus)
    }

    /// The kernels, below them how the workloads were told, and what went wrong.
    pub(crate) fn render(&self) -> String {
        let mut text = format!(
            "{:<7} {:<32} {:<13} {:>6} {:>6} {:>7} {:>6}\n",
            "SERIES", "KERNEL", "DOCTOR", "PASSED", "FAILED", "SKIPPED", "TIME"
        );
        self.rows.iter().for_each(|row| text += &line(row));
        text.push('\n');
        text += &workloads::summary(&self.kernels());
        self.rows.iter().for_each(|row| text += &complaints(row));
        text
    }

    /// For the file: what is limited on each kernel, and every workload on every kernel.
    pub(crate) fn whole(&self) -> String {
        let mut text = self.render();
        for row in &self.rows {
            let Outcome::Ran { verdict: Verdict { doctor: Ok(limits), .. }, .. } = &row.outcome else {
                continue;
            };
            // Writing to a string does not fail.
            let _ = writeln!(text, "\nlimited on {}:\n  {}", row.series, limits.join("\n  "));
        }
        text.push('\n');
        text + &workloads::whole(&self.kernels())
    }

    fn kernels(&self) -> Vec<(&str, &Workloads)> {
        let here = Some(("here", &self.here)).filter(|(_, workloads)| !workloads.is_empty());
        let there = self.rows.iter().filter_map(|row| match &row.outcome {
            Outcome::Ran { verdict, .. } => Some((row.series.as_str(), &verdict.workloads)),
            _ => None,
        });
        here.into_iter().chain(there).collect()
    }
}

fn line(row: &Row) -> String {
    let series = &row.series;
    match &row.outcome {
        Outcome::NotOffered => {
            format!("{series:<7} SKIPPED: Debian's archive offers no such kernel any more\n")
        }
        Outcome::NotTried(_) => format!("{series:<7} FAILED: could not be tried\n"),
        Outcome::Ran { release, verdict, time } => {
            let doctor = match &verdict.doctor {
                Ok(limits) => format!("ok, {} limits", limits.len()),
                Err(_) => "FAILED".to_owned(),
            };
            let Counts { passed, failed, skipped } = verdict.counts();
            let time = time.as_secs();
            format!(
                "{series:<7} {release:<32} {doctor:<13} {passed:>6} {failed:>6} {skipped:>7} {time:>4} s\n"
            )
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
            for (name, result) in &verdict.tests {
                if let Err(why) = result {
                    complain(name, why);
                }
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let row = |series: &str, outcome| Row { series: series.to_owned(), outcome };
        let ran = |doctor, live| Outcome::Ran {
            release: "6.1.0-56-cloud-amd64".to_owned(),
            verdict: Verdict {
                doctor,
                tests: vec![("live", live)],
                workloads: Workloads::read("EXACT fork\n"),
            },
            time: Duration::from_secs(154),
        };
        let counts = Counts { passed: 24, failed: 1, skipped: 1 };
        let rows = vec![
            row("5.10", Outcome::NotOffered),
            row("6.1", ran(Ok(vec!["x: y".into()]), Ok(counts))),
            row("6.12", ran(Err("hook sock_ops is off: EINVAL".into()), Err("a panic".into()))),
            row("newest", Outcome::NotTried("no room".into())),
        ];
        Table { here: Workloads::read("INEXACT fork: x\n"), rows }
    }

    #[test]
    fn every_kernel_has_its_line_and_every_failure_its_reason() {
        let expected = "\
SERIES  KERNEL                           DOCTOR        PASSED FAILED SKIPPED   TIME
5.10    SKIPPED: Debian's archive offers no such kernel any more
6.1     6.1.0-56-cloud-amd64             ok, 1 limits      25      1       1  154 s
6.12    6.1.0-56-cloud-amd64             FAILED             0      2       0  154 s
newest  FAILED: could not be tried

WORKLOADS TOLD                    EXACT  INEXACT  NOT POSSIBLE  WRONG
here                                  0        1             0      0
6.1                                   1        0             0      0
6.12                                  1        0             0      0
  fork: exact on 6.1, 6.12; inexact on here

6.12, portleak doctor: hook sock_ops is off: EINVAL

6.12, live: a panic

newest, not tried: no room
";
        assert_eq!(table().render(), expected);
    }

    #[test]
    fn the_file_tells_the_limits_too() {
        assert!(table().whole().contains("\nlimited on 6.1:\n  x: y\n"));
    }

    #[test]
    fn nothing_is_lost_in_the_sum() {
        assert_eq!(table().sum(), Counts { passed: 25, failed: 4, skipped: 2 });
    }
}
