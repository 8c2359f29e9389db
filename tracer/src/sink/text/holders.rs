//! A snapshot: who holds what now. It judges nothing: a leak shows only over time.

use super::columns;
use super::paint::Paint;
use super::table::more;
use crate::engine::report::{OwnerReport, Summary};
use crate::sink::names::label;
use crate::sink::numbers::{count, counted};

/// Owners that the table shows.
const ROWS_MAX: usize = 40;
const HEADS: [&str; 7] = ["OWNER", "HELD", "TCP", "UDP", "BOUND ONLY", "CLOSE_WAIT", "SYN_SENT"];
/// Columns that are left-aligned: the owner's.
const LEFT: usize = 1;

/// `3 owners hold 12 ports; 4 in TIME_WAIT`.
pub(super) fn headline(summary: &Summary) -> String {
    let time_wait: u64 = summary.pools.iter().map(|pool| pool.time_wait).sum();
    let time_wait = format!("{} in TIME_WAIT", count(time_wait));
    if summary.owners.is_empty() {
        return format!("Nobody holds an ephemeral port; {time_wait}\n");
    }
    let owners = summary.owners.len() as u64;
    let held = summary.owners.iter().map(held).sum();
    let verb = if owners == 1 { "holds" } else { "hold" };
    format!("{} {verb} {}; {time_wait}\n", counted(owners, "owner"), counted(held, "ephemeral port"))
}

/// The owners, largest first.
pub(super) fn table(owners: &[OwnerReport], paint: &Paint) -> String {
    if owners.is_empty() {
        return String::new();
    }
    let (shown, hidden) = owners.split_at(owners.len().min(ROWS_MAX));
    let rows: Vec<_> = shown.iter().map(row).collect();
    let widths = columns::widths(&HEADS, &rows);
    let head = paint.dim(&columns::line(&HEADS.map(str::to_owned), &widths, LEFT));
    let lines = rows.iter().map(|row| columns::line(row, &widths, LEFT));
    let lines: String = std::iter::once(head).chain(lines).map(|line| line + "\n").collect();
    lines + &more(hidden)
}

fn row(report: &OwnerReport) -> [String; HEADS.len()] {
    let (tcp, udp) = (&report.tcp, &report.udp);
    let numbers = [held(report), tcp.held, udp.held, tcp.held_bound_only, tcp.close_wait, tcp.syn_sent];
    let [held, tcp, udp, bound_only, close_wait, syn_sent] = numbers.map(count);
    [label(&report.owner), held, tcp, udp, bound_only, close_wait, syn_sent]
}

fn held(report: &OwnerReport) -> u64 {
    report.tcp.held + report.udp.held
}
