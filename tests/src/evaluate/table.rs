//! The tables.

use super::baselines::NAMES;
use super::judge::Outcome;
use super::kinds::{KINDS, Kind};
use std::fmt::Write;

/// All outcomes of one kind.
pub struct Row {
    pub kind: &'static Kind,
    pub outcomes: Vec<Outcome>,
}

/// What it all comes to.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    pub leaks: usize,
    pub found: usize,
    /// The kind found least, and its share.
    pub worst: Option<(&'static str, f64)>,
    pub healthy: usize,
    pub false_suspected: usize,
    pub false_leak: usize,
}

/// Adds up.
pub fn totals(rows: &[Row]) -> Totals {
    let mut totals = Totals::default();
    for Row { kind, outcomes } in rows {
        if !kind.leaks {
            totals.healthy += outcomes.len();
            totals.false_suspected += outcomes.iter().filter(|one| one.false_suspected).count();
            totals.false_leak += outcomes.iter().filter(|one| one.false_leak).count();
            continue;
        }
        let found = outcomes.iter().filter(|one| one.leak.is_some()).count();
        totals.leaks += outcomes.len();
        totals.found += found;
        let share = found as f64 / outcomes.len().max(1) as f64;
        if totals.worst.is_none_or(|(_, worst)| share < worst) {
            totals.worst = Some((kind.name, share));
        }
    }
    totals
}

/// All of it as text (Markdown).
pub fn text(rows: &[Row]) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "| leak | found | growing | suspected | leak | p90 | as named | ports leaked | right call site | forecast ± | {} |",
        NAMES.join(" | ")
    );
    let _ = writeln!(text, "|{}", "---|".repeat(10 + NAMES.len()));
    for Row { kind, outcomes } in rows.iter().filter(|row| row.kind.leaks) {
        let of = |f: fn(&Outcome) -> Option<f64>| outcomes.iter().filter_map(f).collect::<Vec<_>>();
        let leak = of(|one| one.leak);
        let named = outcomes.iter().filter(|one| one.nominal).filter_map(|one| one.leak).collect();
        let sites: Vec<bool> = outcomes.iter().filter_map(|one| one.site).collect();
        let right = sites.iter().filter(|&&right| right).count();
        let _ = write!(
            text,
            "| {} | {} of {} | {} | {} | {} | {} | {} | {} | {right} of {} | {} |",
            kind.name,
            leak.len(),
            outcomes.len(),
            seconds(quantile(of(|one| one.growing), 0.5)),
            seconds(quantile(of(|one| one.suspected), 0.5)),
            seconds(quantile(leak.clone(), 0.5)),
            seconds(quantile(leak, 0.9)),
            seconds(quantile(named, 0.5)),
            plain(quantile(of(|one| one.leak.map(|_| one.leaked as f64)), 0.5)),
            sites.len(),
            percent(quantile(of(|one| one.forecast_error.map(f64::abs)), 0.5)),
        );
        for at in 0..NAMES.len() {
            let cried: Vec<f64> = outcomes.iter().filter_map(|one| one.cried[at]).collect();
            let count = cried.len();
            let _ = write!(text, " {count}, {} |", seconds(quantile(cried, 0.5)));
        }
        text.push('\n');
    }
    let _ = writeln!(text, "\n| healthy | runs | false suspected | false leak | {} |", NAMES.join(" | "));
    let _ = writeln!(text, "|{}", "---|".repeat(4 + NAMES.len()));
    for Row { kind, outcomes } in rows.iter().filter(|row| !row.kind.leaks) {
        let count = |f: fn(&Outcome) -> bool| outcomes.iter().filter(|one| f(one)).count();
        let _ = write!(
            text,
            "| {} | {} | {} | {} |",
            kind.name,
            outcomes.len(),
            count(|one| one.false_suspected),
            count(|one| one.false_leak)
        );
        for at in 0..NAMES.len() {
            let _ = write!(text, " {} |", outcomes.iter().filter(|one| one.cried_wolf[at]).count());
        }
        text.push('\n');
    }
    text + &sum(rows)
}

fn sum(rows: &[Row]) -> String {
    let t = totals(rows);
    let accused = rows.iter().filter(|row| row.kind.leaks);
    let wrong = accused.flat_map(|row| &row.outcomes).filter(|one| one.false_suspected).count();
    let (worst, share) = t.worst.unwrap_or(("none", 1.0));
    format!(
        "\nfound {} of {} leaks ({:.2} %), worst: {worst} {:.1} %; of {} healthy runs {} false suspected \
         ({:.2} %), {} false leak ({:.2} %); in {wrong} runs with a leak somebody else was suspected too\n",
        t.found,
        t.leaks,
        100.0 * t.found as f64 / t.leaks.max(1) as f64,
        100.0 * share,
        t.healthy,
        t.false_suspected,
        100.0 * t.false_suspected as f64 / t.healthy.max(1) as f64,
        t.false_leak,
        100.0 * t.false_leak as f64 / t.healthy.max(1) as f64,
    )
}

/// Kinds whose name contains this.
pub fn kinds(named: &str) -> impl Iterator<Item = &'static Kind> {
    KINDS.iter().filter(move |kind| kind.name.contains(named))
}

fn quantile(mut values: Vec<f64>, share: f64) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
    let at = (share * values.len() as f64) as usize;
    values.get(at.min(values.len().saturating_sub(1))).copied()
}

fn seconds(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |s| format!("{s:.0} s"))
}

fn plain(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |n| format!("{n:.0}"))
}

fn percent(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |share| format!("{:.0} %", 100.0 * share))
}
