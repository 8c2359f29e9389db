//! How full the UDP pools are.
//!
//! A failed send shows only in a hook that every send of the machine has to pay for. User space
//! attaches it while a pool is nearly used up, so the probes count what is held.

use crate::atomic::add;
use crate::control::turn_on;
use crate::ring::{emit_at_once, header};
use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::macros::map;
use aya_ebpf::maps::LruHashMap;
use core::ptr::read_volatile;
use portleak_ebpf::{Hold, control, kind, pool_low_from, protocol};

/// How many UDP ports are held in each network namespace; user space corrects it now and then.
#[map]
static UDP_HELD: LruHashMap<u32, u64> = LruHashMap::with_max_entries(4096, 0);

/// A hold was entered.
#[inline(always)]
pub(crate) fn taken(hold: &Hold) {
    let Some(held) = change(hold, 1) else {
        return;
    };
    let usable = u64::from(hold.range_high) + 1 - u64::from(hold.range_low);
    if held >= pool_low_from(usable) && held <= usable && turn_on(control::POOL_LOW) {
        emit_at_once(header(kind::POOL_LOW, u64::from(hold.netns)));
    }
}

/// A hold was taken out.
#[inline(always)]
pub(crate) fn freed(hold: &Hold) {
    change(hold, u64::MAX);
}

/// Adds to the count of the hold's namespace; returns the new count.
#[inline(always)]
fn change(hold: &Hold, change: u64) -> Option<u64> {
    if hold.protocol != protocol::UDP {
        return None;
    }
    if UDP_HELD.get_ptr(hold.netns).is_none() {
        let _ = UDP_HELD.insert(hold.netns, 0, u64::from(BPF_NOEXIST));
    }
    let held = UDP_HELD.get_ptr_mut(hold.netns)?;
    // SAFETY: the map's own memory, only ever added to atomically.
    unsafe {
        add(held, change);
        Some(read_volatile(held))
    }
}
