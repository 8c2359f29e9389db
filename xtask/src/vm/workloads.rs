//! How exactly each workload was told, kernel by kernel: from the lines that the tests print
//! (tests/src/outcome.rs).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// How a workload was told on one kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Told {
    Exact,
    Inexact,
    Impossible,
    Wrong,
}

/// The word at the beginning of a test's line, and the one that a person reads.
const WORDS: [(Told, &str, &str); 4] = [
    (Told::Exact, "EXACT ", "exact"),
    (Told::Inexact, "INEXACT ", "inexact"),
    (Told::Impossible, "IMPOSSIBLE ", "not possible"),
    (Told::Wrong, "WRONG ", "WRONG"),
];

impl Told {
    fn word(self) -> &'static str {
        WORDS.iter().find(|(told, ..)| *told == self).map_or("", |(_, _, word)| word)
    }
}

/// The workloads on one kernel, by name; with the reason where one is given.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Workloads(BTreeMap<String, (Told, String)>);

impl Workloads {
    /// Finds the lines in what tests wrote.
    pub(crate) fn read(output: &str) -> Self {
        Self(output.lines().filter_map(line).collect())
    }

    /// Whether no workload was tried.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn count(&self, told: Told) -> usize {
        self.0.values().filter(|(it, _)| *it == told).count()
    }

    fn told(&self, name: &str) -> Option<Told> {
        self.0.get(name).map(|(told, _)| *told)
    }
}

/// `INEXACT name: why`, `EXACT name`.
fn line(line: &str) -> Option<(String, (Told, String))> {
    let (told, rest) = WORDS.iter().find_map(|(told, begin, _)| Some((*told, line.strip_prefix(begin)?)))?;
    let (name, why) = rest.split_once(": ").unwrap_or((rest, ""));
    Some((name.to_owned(), (told, why.to_owned())))
}

/// Workloads by kernel, in the order of the kernels.
pub(crate) type Kernels<'a> = [(&'a str, &'a Workloads)];

/// A line for each kernel, and one for each workload that is not told alike everywhere.
pub(crate) fn summary(kernels: &Kernels) -> String {
    let mut text = format!(
        "{:<32} {:>6} {:>8} {:>13} {:>6}\n",
        "WORKLOADS TOLD", "EXACT", "INEXACT", "NOT POSSIBLE", "WRONG"
    );
    for (kernel, workloads) in kernels {
        let [exact, inexact, impossible, wrong] = WORDS.map(|(told, ..)| workloads.count(told));
        // Writing to a string does not fail.
        let _ = writeln!(text, "{kernel:<32} {exact:>6} {inexact:>8} {impossible:>13} {wrong:>6}");
    }
    for name in names(kernels) {
        let groups = groups(kernels, name);
        if groups.len() > 1 {
            let groups = groups.iter().map(|(told, kernels)| format!("{told} on {}", kernels.join(", ")));
            let _ = writeln!(text, "  {name}: {}", groups.collect::<Vec<_>>().join("; "));
        }
    }
    text
}

/// Every workload on every kernel, and below it why not exact.
pub(crate) fn whole(kernels: &Kernels) -> String {
    let width = names(kernels).iter().map(|name| name.len()).max().unwrap_or_default();
    let mut text = format!("{:<width$}", "");
    kernels.iter().for_each(|(kernel, _)| text += &format!("  {kernel:<12}"));
    text.push('\n');
    for name in names(kernels) {
        let told =
            kernels.iter().map(|(_, workloads)| workloads.told(name).map_or("did not run", Told::word));
        let columns: String = told.map(|word| format!("  {word:<12}")).collect();
        let _ = writeln!(text, "{name:<width$}{}", columns.trim_end());
    }
    let reasons = kernels.iter().flat_map(|(_, workloads)| {
        let inexact = workloads.0.iter().filter(|(_, (_, why))| !why.is_empty());
        inexact.map(|(name, (told, why))| format!("{name}, {}: {why}\n", told.word()))
    });
    text.push('\n');
    text.extend(reasons.collect::<BTreeSet<_>>());
    text
}

fn names<'a>(kernels: &Kernels<'a>) -> BTreeSet<&'a str> {
    kernels.iter().flat_map(|(_, workloads)| workloads.0.keys().map(String::as_str)).collect()
}

/// The kernels on which a workload was told alike. One that ran none is told of once, elsewhere.
fn groups<'a>(kernels: &Kernels<'a>, name: &str) -> BTreeMap<&'static str, Vec<&'a str>> {
    let mut groups: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (kernel, workloads) in kernels.iter().filter(|(_, workloads)| !workloads.is_empty()) {
        groups.entry(workloads.told(name).map_or("did not run", Told::word)).or_default().push(*kernel);
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: &str = "---- x stdout ----\nEXACT fork\nEXACT mptcp\nINEXACT udp: late: by 5 s\n3 cases\n";
    const OLD: &str = "EXACT fork\nIMPOSSIBLE mptcp: no MPTCP\nINEXACT udp: late: by 5 s\n";

    #[test]
    fn kernels_are_compared() {
        let (new, old) = (Workloads::read(NEW), Workloads::read(OLD));
        let kernels = [("6.18", &new), ("5.10", &old)];
        let expected = "\
WORKLOADS TOLD                    EXACT  INEXACT  NOT POSSIBLE  WRONG
6.18                                  2        1             0      0
5.10                                  1        1             1      0
  mptcp: exact on 6.18; not possible on 5.10
";
        assert_eq!(summary(&kernels), expected);
        let expected = "       6.18          5.10        
fork   exact         exact
mptcp  exact         not possible
udp    inexact       inexact

mptcp, not possible: no MPTCP
udp, inexact: late: by 5 s
";
        assert_eq!(whole(&kernels), expected);
    }

    #[test]
    fn what_did_not_run_is_told_too() {
        let (new, other, none) =
            (Workloads::read(NEW), Workloads::read("EXACT mptcp\n"), Workloads::default());
        let text = summary(&[("6.18", &new), ("6.1", &other), ("5.10", &none)]);
        assert!(text.contains("  fork: did not run on 6.1; exact on 6.18\n"), "{text}");
    }
}
