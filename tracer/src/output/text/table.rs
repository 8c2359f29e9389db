//! The table of owners.

use super::WIDTH;
use super::headline::failures;
use super::paint::Paint;
use crate::engine::report::OwnerReport;
use crate::output::names::{cut, label};
use crate::output::numbers::{count, counted, duration};

/// How many owners the table shows.
const ROWS_MAX: usize = 12;
/// The least that an owner's name is cut to.
const OWNER_WIDTH_MIN: usize = 16;
const GAP: usize = 2;
const HEADS: [&str; 9] =
    ["OWNER", "VERDICT", "HELD", "ACQUIRED", "RELEASED", "TIME_WAIT", "FAILED", "OLDEST", "MEDIAN LIFE"];
/// Columns up to here are words and stand left; the rest are numbers and stand right.
const LEFT: usize = 2;

type Row = [String; HEADS.len()];

pub(super) fn text(owners: &[OwnerReport], paint: &Paint) -> String {
    if owners.is_empty() {
        return String::new();
    }
    let (shown, hidden) = owners.split_at(owners.len().min(ROWS_MAX));
    let rows: Vec<Row> = shown.iter().map(row).collect();
    let widths = widths(&rows);
    let mut text = paint.dim(&line(&HEADS.map(str::to_owned), &widths)) + "\n";
    for (row, report) in rows.iter().zip(shown) {
        let line = line(row, &widths);
        // After the alignment, so that the escapes do not count as width.
        let verdict = report.verdict.name();
        let at = widths[0] + GAP;
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

/// As wide as the contents; the owner's column gives way where the line would be too long.
fn widths(rows: &[Row]) -> [usize; HEADS.len()] {
    let mut widths = HEADS.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let others: usize = widths[1..].iter().map(|width| width + GAP).sum();
    let room = WIDTH.saturating_sub(others).max(OWNER_WIDTH_MIN);
    widths[0] = widths[0].min(room);
    widths
}

fn line(row: &Row, widths: &[usize; HEADS.len()]) -> String {
    let cells = row.iter().zip(widths).enumerate();
    let cells =
        cells.map(
            |(i, (cell, &width))| {
                if i < LEFT { format!("{:width$}", cut(cell, width)) } else { format!("{cell:>width$}") }
            },
        );
    cells.collect::<Vec<_>>().join(&" ".repeat(GAP))
}

fn char_offset(text: &str, chars: usize) -> usize {
    text.char_indices().nth(chars).map_or(text.len(), |(offset, _)| offset)
}

fn more(hidden: &[OwnerReport]) -> String {
    if hidden.is_empty() {
        return String::new();
    }
    let held = hidden.iter().map(|o| o.tcp.held + o.udp.held).sum();
    format!("… and {}, {} held\n", counted(hidden.len() as u64, "more owner"), counted(held, "port"))
}
