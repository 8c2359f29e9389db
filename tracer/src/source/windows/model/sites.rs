//! Call sites in the kernel: the stacks on which its drivers create and bind sockets.
//!
//! Stacks of processes are not resolved here.

use super::drivers::{Drivers, is_kernel_address};
use super::ports::Out;
use super::{Context, Model};
use crate::event::{EventKind, OwnerId, SiteId};
use rustc_hash::FxHashMap;
use std::num::NonZeroU64;

/// The most call sites that are kept. Later holds have none.
const SITES_MAX: usize = 16_384;
/// The most frames that are kept of a stack. Windows records up to 192.
const FRAMES_MAX: usize = 64;

/// The call sites, by their stacks.
#[derive(Clone, Debug, Default)]
pub(super) struct Sites(FxHashMap<Box<[u64]>, Site>);

#[derive(Clone, Copy, Debug)]
struct Site {
    id: SiteId,
    /// Its frames have been emitted with their current names.
    is_announced: bool,
}

impl Sites {
    /// The site of a stack, innermost frame first. Emits it if it is new.
    fn enter(&mut self, stack: &[u64], drivers: &Drivers, out: &mut Out<'_>) -> Option<SiteId> {
        if !self.0.contains_key(stack) {
            if self.0.len() >= SITES_MAX {
                return None;
            }
            let id = SiteId(NonZeroU64::new(self.0.len() as u64 + 1)?);
            self.0.insert(stack.into(), Site { id, is_announced: false });
        }
        let site = self.0.get_mut(stack)?;
        if !site.is_announced {
            site.is_announced = true;
            out.push(EventKind::Site { id: site.id, frames: drivers.frames(stack).into() });
        }
        Some(site.id)
    }

    /// The names of frames may have changed.
    pub(super) fn reannounce(&mut self) {
        self.0.values_mut().for_each(|site| site.is_announced = false);
    }
}

impl Model {
    /// The kernel call site of a record of System, if it carries a stack.
    pub(super) fn site_of(&mut self, owner: &OwnerId, context: &mut Context<'_, '_>) -> Option<SiteId> {
        if !matches!(owner, OwnerId::System { .. }) {
            return None;
        }
        let kernel = context.record.stack().filter(|&address| is_kernel_address(address));
        let stack: Vec<_> = kernel.take(FRAMES_MAX).collect();
        if stack.is_empty() { None } else { self.sites.enter(&stack, &self.drivers, &mut context.out) }
    }
}
