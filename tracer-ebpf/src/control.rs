//! Switches that user space sets while the probes run.

use aya_ebpf::macros::map;
use aya_ebpf::maps::Array;
use portleak_ebpf::control;

/// See [`control`].
#[map]
static CONTROL: Array<u32> = Array::with_max_entries(control::COUNT, 0);

/// The value of a switch.
#[inline(always)]
pub(crate) fn switch(index: u32) -> u32 {
    CONTROL.get(index).copied().unwrap_or_default()
}

/// Sets a switch to 1; true if it was 0. Two hooks that race may both get true.
#[inline(always)]
pub(crate) fn turn_on(index: u32) -> bool {
    // SAFETY: the map's own memory.
    CONTROL.get_ptr_mut(index).is_some_and(|value| unsafe { core::mem::replace(&mut *value, 1) } == 0)
}
