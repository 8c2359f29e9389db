//! Call sites: what the return addresses of a stack mean, found out while its process lives.

use crate::event::{EventKind, Frame, OwnerId, ProcessId, SiteId};
use crate::source::linux::bpf::wire;
use crate::source::linux::kernel::kallsyms::{self, Kallsyms};
use crate::source::linux::procfs::memory_maps::{self, MemoryMaps};
use portleak_ebpf::{FRAMES_MAX, OwnerKey, SiteRecord};
use rustc_hash::FxHashMap;
use std::num::NonZeroU64;
use std::sync::Arc;

/// Sites of the kernel whose module is kept; holds from others are the kernel's as a whole.
const KERNEL_SITES_MAX: usize = 16_384;

/// What is known of call sites.
#[derive(Debug, Default)]
pub struct CallSites {
    kernel: Kallsyms,
    modules: FxHashMap<u64, Option<Arc<str>>>,
}

impl CallSites {
    /// A site that the probes tell of. `None` when its number is none.
    pub fn learn(&mut self, record: &SiteRecord) -> Option<EventKind> {
        let id = SiteId(NonZeroU64::new(record.header.cookie)?);
        let count = usize::try_from(record.count).unwrap_or(FRAMES_MAX).min(FRAMES_MAX);
        let addresses = &record.frames[..count];
        let frames = if record.owner.pid == 0 {
            self.kernel_frames(record.header.cookie, addresses)
        } else {
            user_frames(&record.owner, addresses)
        };
        Some(EventKind::Site { id, frames: frames.into() })
    }

    /// Charges the kernel's module instead of the kernel as a whole, if the site tells it.
    pub fn charge(&self, owner: &mut OwnerId, site: u64) {
        if let OwnerId::System { module, .. } = owner {
            *module = self.modules.get(&site).cloned().flatten();
        }
    }

    fn kernel_frames(&mut self, site: u64, addresses: &[u64]) -> Vec<Frame> {
        self.kernel.refresh();
        let frames: Vec<_> = addresses.iter().map(|address| self.kernel.frame(*address)).collect();
        if self.modules.len() < KERNEL_SITES_MAX {
            self.modules.insert(site, kallsyms::module(&frames));
        }
        frames
    }
}

fn user_frames(owner: &OwnerKey, addresses: &[u64]) -> Vec<Frame> {
    let process = wire::process(owner);
    let maps = MemoryMaps::of(process);
    // The kernel follows frame pointers: where code has none, what it finds is no code.
    let mapped = addresses.iter().map_while(|address| maps.frame(*address));
    let frames: Vec<_> = mapped.map(|frame| compiled(process, frame)).collect();
    if frames.is_empty() { addresses.iter().copied().map(Frame::Address).collect() } else { frames }
}

fn compiled(process: ProcessId, frame: Frame) -> Frame {
    match frame {
        Frame::Address(address) => memory_maps::compiled(process, address).unwrap_or(frame),
        known => known,
    }
}
