//! From measurements to the table that is printed.

use std::fmt::Write;

/// One run of the workload, by its own account.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    /// Throughput, in units of the load.
    pub(crate) per_s: f64,
    /// CPU time of the workload for each, the kernel's work for it and the probes' included.
    pub(crate) cpu_us_each: f64,
}

/// What a tracer took beside the workload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// CPU time of its process from attached to ended.
    pub(crate) cpu_s: f64,
    /// The most memory that it had resident.
    pub(crate) rss_mb: f64,
    /// Events that it says it lost.
    pub(crate) lost: u64,
}

/// One variant in one round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measurement {
    /// The tracer's name, or `none`.
    pub(crate) variant: &'static str,
    /// Which round.
    pub(crate) round: u32,
    /// What the workload did.
    pub(crate) work: Work,
    /// What the tracer took; `None` without one.
    pub(crate) cost: Option<Cost>,
}

/// One row for each variant, in the order of their first measurements; `unit` is what was counted.
pub(crate) fn render(unit: &str, measurements: &[Measurement]) -> String {
    let mut names = Vec::new();
    for measurement in measurements {
        if !names.contains(&measurement.variant) {
            names.push(measurement.variant);
        }
    }
    let (rate, added) = (format!("{unit}s/s"), format!("added CPU µs/{unit}"));
    let mut table = format!("{:<10}{rate:>15}{:>26}", "variant", "ratio to none (min–max)");
    // Writing to a String cannot fail.
    let _ = writeln!(table, "{added:>26}{:>13}{:>9}{:>7}", "tool CPU s", "RSS MB", "lost");
    for name in names {
        row(&mut table, name, measurements);
    }
    table
}

fn row(table: &mut String, name: &str, all: &[Measurement]) {
    let own: Vec<_> = all.iter().filter(|one| one.variant == name).collect();
    let against_none = |figure: fn(Work, Work) -> f64| -> Vec<f64> {
        let pairs = own.iter().filter_map(|one| Some((one.work, bare(all, one.round)?)));
        pairs.map(|(work, bare)| figure(work, bare)).collect()
    };
    let rates: Vec<_> = own.iter().map(|one| one.work.per_s).collect();
    let ratios = against_none(|work, bare| work.per_s / bare.per_s);
    let added = against_none(|work, bare| work.cpu_us_each - bare.cpu_us_each);
    let costs: Vec<_> = own.iter().filter_map(|one| one.cost).collect();
    let (low, high) = range(&ratios);

    let _ = write!(table, "{name:<10}{:>15.0}", median(&rates));
    let ratio = format!("{:.3} ({low:.3}–{high:.3})", median(&ratios));
    let _ = write!(table, "{ratio:>26}{:>26.2}", median(&added));
    if costs.is_empty() {
        let _ = writeln!(table, "{:>13}{:>9}{:>7}", "-", "-", "-");
        return;
    }
    let of = |figure: fn(&Cost) -> f64| median(&costs.iter().map(figure).collect::<Vec<_>>());
    let lost: u64 = costs.iter().map(|cost| cost.lost).sum();
    let (cpu_s, rss_mb) = (of(|cost| cost.cpu_s), of(|cost| cost.rss_mb));
    let _ = writeln!(table, "{cpu_s:>13.2}{rss_mb:>9.1}{lost:>7}");
}

/// The bare run of a round.
fn bare(all: &[Measurement], round: u32) -> Option<Work> {
    let of_round = |one: &&Measurement| one.round == round && one.cost.is_none();
    Some(all.iter().find(of_round)?.work)
}

pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match (sorted.get(middle), sorted.len() % 2) {
        (None, _) => f64::NAN,
        (Some(value), 1) => *value,
        (Some(value), _) => f64::midpoint(sorted[middle - 1], *value),
    }
}

fn range(values: &[f64]) -> (f64, f64) {
    let low = values.iter().copied().fold(f64::NAN, f64::min);
    let high = values.iter().copied().fold(f64::NAN, f64::max);
    (low, high)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measurement(round: u32, rate: f64, cpu_us: f64, cost: Option<Cost>) -> Measurement {
        Measurement {
            variant: if cost.is_some() { "portleak" } else { "none" },
            round,
            work: Work { per_s: rate, cpu_us_each: cpu_us },
            cost,
        }
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]).to_bits(), 2.0_f64.to_bits());
        assert_eq!(median(&[4.0, 1.0]).to_bits(), 2.5_f64.to_bits());
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn a_variant_is_compared_within_its_round() {
        let cost = |lost| Some(Cost { cpu_s: 0.1, rss_mb: 12.0, lost });
        let measurements = [
            measurement(0, 100.0, 20.0, None),
            measurement(0, 90.0, 22.0, cost(0)),
            measurement(1, 50.0, 40.0, None),
            measurement(1, 50.0, 42.0, cost(3)),
        ];
        let table = render("connection", &measurements);
        let rows: Vec<Vec<_>> = table.lines().map(|row| row.split_whitespace().collect()).collect();
        let none = ["none", "75", "1.000", "(1.000–1.000)", "0.00", "-", "-", "-"];
        let traced = ["portleak", "70", "0.950", "(0.900–1.000)", "2.00", "0.10", "12.0", "3"];
        assert_eq!(rows[1..], [none, traced]);
    }
}
