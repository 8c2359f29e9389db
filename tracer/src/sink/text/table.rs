//! The table of owners.

use super::columns;
use super::paint::Paint;
use super::summary_text::failures;
use crate::engine::report::OwnerReport;
use crate::sink::names::label;
use crate::sink::numbers::{count, counted, duration};

/// Owners that the table shows.
const ROWS_MAX: usize = 12;
const HEADS: [&str; 9] =
    ["OWNER", "VERDICT", "HELD", "ACQUIRED", "RELEASED", "TIME_WAIT", "FAILED", "OLDEST", "MEDIAN LIFE"];
/// Columns that are left-aligned; the others are numbers and right-aligned.
const LEFT: usize = 2;

type Row = [String; HEADS.len()];

pub(super) fn text(owners: &[OwnerReport], paint: &Paint) -> String {
    if owners.is_empty() {
        return String::new();
    }
    let (shown, hidden) = owners.split_at(owners.len().min(ROWS_MAX));
    let rows: Vec<Row> = shown.iter().map(row).collect();
    let widths = columns::widths(&HEADS, &rows);
    let mut text = paint.dim(&columns::line(&HEADS.map(str::to_owned), &widths, LEFT)) + "\n";
    for (row, report) in rows.iter().zip(shown) {
        let line = columns::line(row, &widths, LEFT);
        // After the alignment, so that the escapes do not count as width.
        let verdict = report.verdict.name();
        let at = widths[0] + columns::GAP;
        let (owner, rest) = line.split_at(char_offset(&line, at));
        let rest = rest.strip_prefix(verdict).unwrap_or(rest);
        text += &format!("{owner}{}{rest}\n", paint.verdict(report.verdict, verdict));
    }
    text + &more(hidden)
}

fn row(report: &OwnerReport) -> Row {
    let (tcp, udp) = (&report.tcp, &report.udp);
    let time = |s: Option<f64>| s.map_or_else(|| "-".to_owned(), duration);
    [
        label(&report.owner),
        report.verdict.name().to_owned(),
        count(tcp.held + udp.held),
        count(tcp.acquired + udp.acquired),
        count(tcp.released + udp.released),
        count(tcp.time_wait + udp.time_wait),
        count(failures(report)),
        time(report.oldest_held_s),
        time(report.lifetime.p50),
    ]
}

fn char_offset(text: &str, chars: usize) -> usize {
    text.char_indices().nth(chars).map_or(text.len(), |(offset, _)| offset)
}

/// How many owners are not in the table, and how many ports they hold.
pub(super) fn more(hidden: &[OwnerReport]) -> String {
    if hidden.is_empty() {
        return String::new();
    }
    let held = hidden.iter().map(|o| o.tcp.held + o.udp.held).sum();
    format!("… and {}, {} held\n", counted(hidden.len() as u64, "more owner"), counted(held, "port"))
}
