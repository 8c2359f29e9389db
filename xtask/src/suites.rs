//! What `cargo test` said: one result for each test binary, and their sum.

/// The result of one test binary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Suite {
    /// The binary's name, or the crate's for doc tests.
    pub(crate) name: String,
    /// Tests in it.
    pub(crate) counts: Counts,
}

/// Numbers of tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Ran and succeeded.
    pub(crate) passed: u32,
    /// Ran and failed.
    pub(crate) failed: u32,
    /// Did not run.
    pub(crate) skipped: u32,
}

impl Counts {
    /// Both together.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            skipped: self.skipped + other.skipped,
        }
    }
}

/// Reads all that cargo and the tests wrote, stdout and stderr in one.
pub(crate) fn parse(output: &str) -> Vec<Suite> {
    let mut suites = Vec::new();
    let mut name = String::new();
    for line in output.lines() {
        if let Some(binary) = binary_name(line) {
            name = binary.to_owned();
        } else if let Some(counts) = result(line) {
            let name = name.clone();
            suites.push(Suite { name, counts });
        }
    }
    suites
}

/// The sum of a run of everything and a later run of some suites: what ran again counts as it came
/// out the second time.
pub(crate) fn sum(all: &[Suite], again: &[Suite]) -> Counts {
    let repeated = |suite: &&Suite| again.iter().any(|other| other.name == suite.name);
    let once = all.iter().filter(|suite| !repeated(suite));
    once.chain(again).map(|suite| suite.counts).fold(Counts::default(), Counts::plus)
}

/// `Running live/main.rs (target/debug/deps/live-0b1c2d)`, `Doc-tests portleak`.
fn binary_name(line: &str) -> Option<&str> {
    let line = line.trim_start();
    if let Some(name) = line.strip_prefix("Doc-tests ") {
        return Some(name);
    }
    let (_, path) = line.strip_prefix("Running ")?.rsplit_once('(')?;
    let file = path.strip_suffix(')')?.rsplit(['/', '\\']).next()?;
    let (name, _hash) = file.rsplit_once('-')?;
    Some(name)
}

/// `test result: ok. 12 passed; 0 failed; 3 ignored; 0 measured; …`.
fn result(line: &str) -> Option<Counts> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let mut numbers = counts.split("; ").zip(["passed", "failed", "ignored"]);
    let mut next = || {
        let (part, name) = numbers.next()?;
        part.strip_suffix(name)?.trim_end().parse().ok()
    };
    Some(Counts { passed: next()?, failed: next()?, skipped: next()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &str = "
   Compiling portleak v0.1.0 (/src/tracer)
     Running unittests src/lib.rs (target/debug/deps/portleak-0123456789abcdef)

running 1 test
test a ... ok

test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s

     Running live/main.rs (/elsewhere/debug/deps/live-fedcba9876543210)
test result: FAILED. 1 passed; 2 failed; 3 ignored; 0 measured; 0 filtered out; finished in 1.20s
   Doc-tests portleak
test result: ok. 4 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.50s
";

    const LIVE: &str = "     Running live/main.rs (target/debug/deps/live-0000)
test result: ok. 6 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 3.00s
";

    fn counts(passed: u32, failed: u32, skipped: u32) -> Counts {
        Counts { passed, failed, skipped }
    }

    #[test]
    fn every_binary_has_its_result() {
        let suites = parse(ALL);
        let results: Vec<_> = suites.iter().map(|s| (s.name.as_str(), s.counts)).collect();
        let expected =
            [("portleak", counts(12, 0, 1)), ("live", counts(1, 2, 3)), ("portleak", counts(4, 0, 0))];
        assert_eq!(results, expected);
    }

    #[test]
    fn what_was_ignored_and_did_not_run_later_is_skipped() {
        assert_eq!(sum(&parse(ALL), &[]), counts(17, 2, 4));
    }

    #[test]
    fn what_ran_again_counts_once() {
        assert_eq!(sum(&parse(ALL), &parse(LIVE)), counts(22, 0, 1));
    }

    #[test]
    fn a_windows_binary_has_the_same_name() {
        let line = r"     Running unittests src\lib.rs (target\debug\deps\portleak-01ab.exe)";
        assert_eq!(binary_name(line), Some("portleak"));
    }

    #[test]
    fn other_lines_are_nothing() {
        assert_eq!(parse("test result: unknown\ntest a ... ok\nRunning late\n"), []);
    }
}
