//! Call sites: what the return addresses of a stack mean, found out while its process lives.
//!
//! The kernel's own are named at once, for they say which module to charge. Those of a process are
//! looked up by a worker: `/proc/PID/maps` takes the process's memory lock, and what a run-time
//! compiler says of its code is a file of the process's own.

use super::{Context, Tracker};
use crate::event::{Acquired, Event, EventKind, Frame, Incomplete, OwnerId, SiteId};
use crate::source::linux::bpf::wire::{self, Record};
use crate::source::linux::kernel::kallsyms::{self, Kallsyms};
use crate::source::worker::{Limits, Outcome, Worker};
use portleak_ebpf::{Hold, SiteRecord};
use rustc_hash::FxHashMap;
use std::num::NonZeroU64;
use std::sync::Arc;

/// Sites of the kernel whose module is kept; holds from others are the kernel's as a whole.
const KERNEL_SITES_MAX: usize = 16_384;
const LIMITS: Limits = Limits { queue_max: 4_096, deadline_ns: 1_000_000_000 };

/// What is known of call sites.
#[derive(Debug)]
pub struct CallSites {
    kernel: Kallsyms,
    modules: FxHashMap<u64, Option<Arc<str>>>,
    frames: Worker<Stack, Vec<Frame>>,
    missed: u64,
}

/// A stack whose frames are being looked up.
#[derive(Clone, Debug)]
struct Stack {
    at_ns: u64,
    site: SiteId,
    addresses: Vec<u64>,
}

impl Default for CallSites {
    fn default() -> Self {
        Self {
            kernel: Kallsyms::default(),
            modules: FxHashMap::default(),
            frames: Worker::new("call sites", LIMITS),
            missed: 0,
        }
    }
}

impl Tracker for CallSites {
    fn on_record(&mut self, record: &Record, event: &mut Option<EventKind>, cx: &mut Context<'_>) {
        match (record, event) {
            (Record::Site(site), event) => *event = self.learn(site, cx),
            (Record::Hold(record), Some(EventKind::Acquired(acquired))) => {
                self.charge(&mut acquired.owner, record.hold.site);
            }
            (Record::Hold(record), Some(EventKind::Failed(failed))) => {
                self.charge(&mut failed.owner, record.hold.site);
            }
            _ => {}
        }
    }

    fn on_confirmed(&mut self, hold: &Hold, acquired: &mut Acquired, _: &mut Context<'_>) {
        self.charge(&mut acquired.owner, hold.site);
    }

    fn poll(&mut self, cx: &mut Context<'_>) {
        while let Some(outcome) = self.frames.poll(cx.now_ns) {
            self.emit(outcome, cx);
        }
    }

    fn finish(&mut self, cx: &mut Context<'_>) {
        for outcome in self.frames.finish(cx.patience()) {
            self.emit(outcome, cx);
        }
    }

    fn incomplete(&self) -> Option<Incomplete> {
        (self.missed > 0).then(|| Incomplete {
            what: "call sites that were not resolved in time".to_owned(),
            count: self.missed,
            remedy: "look for processes whose /proc/PID/maps or perf map cannot be read".to_owned(),
        })
    }
}

impl CallSites {
    /// What a record says of a site, if that is known at once. A site's number is never 0.
    fn learn(&mut self, record: &SiteRecord, cx: &mut Context<'_>) -> Option<EventKind> {
        let id = SiteId(NonZeroU64::new(record.header.cookie)?);
        let addresses = wire::addresses(record);
        if record.owner.pid == 0 {
            return Some(EventKind::Site { id, frames: self.kernel_frames(id, addresses).into() });
        }
        let stack = Stack { at_ns: record.header.at_ns, site: id, addresses: addresses.to_vec() };
        let (process, queries) = (wire::process(&record.owner), Arc::clone(cx.queries));
        let wanted = stack.addresses.clone();
        match self.frames.submit(stack, move || queries.frames(process, &wanted)) {
            Ok(()) => None,
            Err(_) => {
                self.missed += 1;
                Some(EventKind::Site { id, frames: unnamed(addresses) })
            }
        }
    }

    fn emit(&mut self, outcome: Outcome<Stack, Vec<Frame>>, cx: &mut Context<'_>) {
        let (stack, frames) = match outcome {
            Outcome::Done(stack, frames) if !frames.is_empty() => (stack, frames.into()),
            Outcome::Done(stack, _) => {
                let frames = unnamed(&stack.addresses);
                (stack, frames)
            }
            Outcome::Missed(stack) => {
                self.missed += 1;
                let frames = unnamed(&stack.addresses);
                (stack, frames)
            }
        };
        let kind = EventKind::Site { id: stack.site, frames };
        cx.events.push(Event { at_ns: stack.at_ns, kind });
    }

    /// Charges the kernel's module instead of the kernel as a whole, if the site says which.
    fn charge(&self, owner: &mut OwnerId, site: u64) {
        if let OwnerId::System { module, .. } = owner {
            *module = self.modules.get(&site).cloned().flatten();
        }
    }

    fn kernel_frames(&mut self, site: SiteId, addresses: &[u64]) -> Vec<Frame> {
        self.kernel.refresh();
        let frames: Vec<_> = addresses.iter().map(|address| self.kernel.frame(*address)).collect();
        if self.modules.len() < KERNEL_SITES_MAX {
            self.modules.insert(site.0.get(), kallsyms::module(&frames));
        }
        frames
    }
}

fn unnamed(addresses: &[u64]) -> Arc<[Frame]> {
    addresses.iter().copied().map(Frame::Address).collect()
}
