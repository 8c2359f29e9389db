//! Tables: cells in columns that fit into a line.

use super::WIDTH;
use crate::sink::names::cut;

/// The least that the first column is cut to.
const FIRST_WIDTH_MIN: usize = 16;
/// Spaces between columns.
pub(super) const GAP: usize = 2;

/// As wide as the contents; the first column gives way where the line would be too long.
pub(super) fn widths<const N: usize>(heads: &[&str; N], rows: &[[String; N]]) -> [usize; N] {
    let mut widths = heads.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let others: usize = widths.iter().skip(1).map(|width| width + GAP).sum();
    let room = WIDTH.saturating_sub(others).max(FIRST_WIDTH_MIN);
    if let Some(first) = widths.first_mut() {
        *first = room.min(*first);
    }
    widths
}

/// One line: the first `left` columns are left-aligned, the rest are numbers.
pub(super) fn line<const N: usize>(row: &[String; N], widths: &[usize; N], left: usize) -> String {
    let cells = row.iter().zip(widths).enumerate().map(|(i, (cell, &width))| {
        if i < left { format!("{:width$}", cut(cell, width)) } else { format!("{cell:>width$}") }
    });
    cells.collect::<Vec<_>>().join(&" ".repeat(GAP))
}
