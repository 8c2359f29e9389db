//! What was lost on the way from the kernel, and when to mend what followed from it.

use super::{Context, Tracker};
use crate::event::{EventKind, LossStage};
use crate::source::linux::bpf::ledger::Losses;

/// How often at most losses are emitted: in a storm each read of the ring may find some.
const EVERY_NS: u64 = 1_000_000_000;
/// How often at most the ledger is read again after a loss.
const RESYNC_EVERY_NS: u64 = 1_000_000_000;

/// What was lost so far.
#[derive(Debug, Default)]
pub struct LossCounts {
    counted: Losses,
    /// Probes skipped by the kernel.
    skipped: u64,
    emitted_ns: u64,
    /// How often events had been dropped after they were emitted.
    dropped: u64,
    resync_due: bool,
    resynced_ns: u64,
}

impl Tracker for LossCounts {
    fn poll(&mut self, cx: &mut Context<'_>) {
        if cx.now_ns >= self.emitted_ns + EVERY_NS {
            self.emit(cx);
        }
        if self.dropped != cx.requests.dropped {
            self.dropped = cx.requests.dropped;
            self.resync_due = true;
            cx.requests.report_loss = true;
        }
        if self.resync_due && cx.now_ns >= self.resynced_ns + RESYNC_EVERY_NS {
            self.resync_due = false;
            self.resynced_ns = cx.now_ns;
            cx.requests.resync = true;
        }
    }

    fn finish(&mut self, cx: &mut Context<'_>) {
        self.emit(cx);
        cx.requests.resync |= self.counted != Losses::default() || cx.requests.dropped > 0;
    }
}

impl LossCounts {
    fn emit(&mut self, cx: &mut Context<'_>) {
        self.emitted_ns = cx.now_ns;
        let now = cx.ledger.losses();
        let skipped = cx.system.skipped();
        let kernel = (now.records - self.counted.records) + (skipped - self.skipped);
        // A hold that was not entered is a release that will neither be reported nor counted.
        let table = (now.holds - self.counted.holds)
            + (now.owners - self.counted.owners)
            + (now.descendants - self.counted.descendants);
        (self.skipped, self.counted) = (skipped, now);
        let decode = std::mem::take(&mut cx.requests.undecoded);
        let stages = [(kernel, LossStage::Kernel), (decode, LossStage::Decode), (table, LossStage::Table)];
        for (count, stage) in stages.into_iter().filter(|(count, _)| *count > 0) {
            cx.emit(EventKind::Lost { count, stage });
            self.resync_due = true;
            cx.requests.report_loss = true;
        }
    }
}
