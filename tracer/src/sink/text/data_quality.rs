//! How complete the data is: lost events, corrections, and features that are limited here.

use super::TextOptions;
use crate::engine::report::Summary;
use crate::event::{Degradation, Incomplete};
use crate::sink::numbers::{count, counted, duration, percent, share, size};
use crate::sink::{Completeness, LoopLag};

/// Factor between the buffer that overflowed and the one that is advised.
const GROWTH: u64 = 4;

pub(super) fn text(
    summary: &Summary,
    totals_kept: bool,
    degraded: &[Degradation],
    options: &TextOptions,
) -> String {
    let traced = duration(summary.duration_s);
    let mut text = if summary.lost == 0 {
        format!("{}, 0 lost, in {traced}\n", counted(summary.events, "event"))
    } else {
        let all = summary.events.saturating_add(summary.lost);
        format!(
            "{} {} of {} lost ({}) in {traced}: {}\n",
            options.paint.warning("WARN"),
            count(summary.lost),
            counted(all, "event"),
            percent(share(summary.lost, all)),
            consequence(totals_kept, options)
        )
    };
    if options.verbose || summary.corrections > 0 {
        let corrections = counted(summary.corrections, "correction");
        text += &format!("{corrections} from the kernel's list of sockets\n");
    }
    if summary.folded > 0 {
        text += &format!("{} counted together as other processes\n", counted(summary.folded, "owner"));
    }
    if options.verbose {
        return text + &limits(degraded, true);
    }
    let actionable = degraded.iter().filter(|it| it.is_actionable()).count() as u64;
    if actionable > 0 {
        text += &format!("{} limited: {}\n", counted(actionable, "feature"), options.limits_by);
    }
    text
}

/// The limited features with their remedies; those without a remedy only if `verbose`.
pub(in crate::sink) fn limits(degraded: &[Degradation], verbose: bool) -> String {
    degraded.iter().filter(|it| verbose || it.is_actionable()).map(limited).collect()
}

fn limited(degradation: &Degradation) -> String {
    let Degradation { feature, why, remedy } = degradation;
    format!("limited: {feature}: {why}\n  remedy: {remedy}\n")
}

/// What is missing, with its remedy; how late the event loop was only if `verbose`.
pub(super) fn completeness(completeness: &Completeness, options: &TextOptions) -> String {
    let missing = |it: &Incomplete| {
        let warning = options.paint.warning("INCOMPLETE");
        format!("{warning} {} {}\n  remedy: {}\n", count(it.count), it.what, it.remedy)
    };
    let mut text: String = completeness.incomplete.iter().map(missing).collect();
    if let Some(lag) = completeness.loop_lag.filter(|_| options.verbose) {
        text += &lag_line(lag);
    }
    text
}

/// `event loop: lag 0.4 ms at the 99th percentile, 2 ms at most`.
pub(in crate::sink) fn lag_line(lag: LoopLag) -> String {
    let (p99, max) = (duration(lag.p99_s), duration(lag.max_s));
    format!("event loop: lag {p99} at the 99th percentile, {max} at most\n")
}

/// What a loss means, and the remedy. Totals stay exact where the kernel itself counts them.
pub(super) fn consequence(totals_kept: bool, options: &TextOptions) -> String {
    let Some(buffer_bytes) = options.buffer_bytes.filter(|_| totals_kept) else {
        return "totals are inexact, single holds may be missing or stale".to_owned();
    };
    let larger = size(u64::from(buffer_bytes) * GROWTH);
    format!("totals are exact, single holds may be missing; remedy: --buffer {larger}")
}
