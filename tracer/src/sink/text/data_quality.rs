//! How well was seen: what was lost, and what is inexact here.

use super::TextOptions;
use crate::engine::report::Summary;
use crate::event::Degradation;
use crate::sink::numbers::{count, counted, duration, percent, share, size};

/// By how much a larger buffer should be larger.
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
        text += &format!("{corrections} from the kernel's own list of sockets\n");
    }
    if options.verbose {
        text.extend(degraded.iter().map(limited));
    } else if !degraded.is_empty() {
        let features = counted(degraded.len() as u64, "feature");
        text += &format!("{features} limited: {}\n", options.limits_by);
    }
    text
}

/// What a loss means, and the remedy. As a rule the kernel goes on counting.
pub(super) fn consequence(totals_kept: bool, options: &TextOptions) -> String {
    let Some(buffer_bytes) = options.buffer_bytes.filter(|_| totals_kept) else {
        return "totals are inexact, single holds may be missing or too many".to_owned();
    };
    let larger = size(u64::from(buffer_bytes) * GROWTH);
    format!("totals are exact, single holds may be missing; remedy: --buffer {larger}")
}

/// One inexact thing with its remedy.
pub(in crate::sink) fn limited(degradation: &Degradation) -> String {
    let Degradation { feature, why, remedy } = degradation;
    format!("limited: {feature}: {why}\n  remedy: {remedy}\n")
}
