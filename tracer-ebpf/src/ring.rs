//! The ring buffer, and counting what it had no room for.

use crate::kernel::global;
use aya_ebpf::bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP};
use aya_ebpf::helpers::bpf_ktime_get_boot_ns;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{PerCpuArray, RingBuf};
use portleak_ebpf::{Header, Hold, HoldRecord, counter};

/// Records on their way to user space; sized by the loader.
#[map]
static EVENTS: RingBuf = RingBuf::with_byte_size(4 << 20, 0);

/// See [`counter`].
#[map]
static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(counter::COUNT, 0);

/// Around the mark, how many bytes of backlog still wake user space: a few dozen records.
const WAKE_WINDOW_BYTES: u64 = 4096;

/// Adds one to a counter of this CPU; returns its value before.
#[inline(always)]
pub(crate) fn count(index: u32) -> u64 {
    let Some(value) = COUNTERS.get_ptr_mut(index) else {
        return 0;
    };
    // SAFETY: the map's own memory, this CPU's slot. A hook that interrupts this one between load
    // and store could hide one count; "none" and "some" are exact all the same.
    unsafe {
        let before = *value;
        *value = before + 1;
        before
    }
}

/// A header for what happens now.
#[inline(always)]
pub(crate) fn header(kind: u8, cookie: u64) -> Header {
    Header {
        // SAFETY: a helper without arguments.
        at_ns: unsafe { bpf_ktime_get_boot_ns() },
        cookie,
        kind,
        code: 0,
        port: 0,
        reserved: 0,
    }
}

/// Sends a record, or counts it as lost.
///
/// User space looks at the ring by itself every few milliseconds; it is woken only when a good
/// part of the ring is full, because a wake-up costs more than a record.
#[inline(always)]
pub(crate) fn emit<T: 'static>(record: T) {
    match EVENTS.reserve::<T>(0) {
        Some(mut entry) => {
            entry.write(record);
            entry.submit(wake_flags());
        }
        None => {
            count(counter::LOST);
        }
    }
}

/// Sends a record about a hold, written in place: a probe's stack has no room for it.
#[inline(always)]
pub(crate) fn emit_hold(header: Header, hold: &Hold) {
    match EVENTS.reserve::<HoldRecord>(0) {
        Some(mut entry) => {
            let record = entry.as_mut_ptr();
            // SAFETY: the reserved entry; both fields are written, and there are no others.
            unsafe {
                (*record).header = header;
                (*record).hold = *hold;
            }
            entry.submit(wake_flags());
        }
        None => {
            count(counter::LOST);
        }
    }
}

/// Sends a record and wakes user space.
#[inline(always)]
pub(crate) fn emit_at_once<T: 'static>(record: T) {
    emit_large::<T>(|entry| {
        // SAFETY: the reserved entry.
        unsafe { entry.write(record) }
    });
}

/// Builds a record in place, for those too large for a probe's stack, and wakes user space.
/// False if it was lost.
#[inline(always)]
pub(crate) fn emit_large<T: 'static>(fill: impl FnOnce(*mut T)) -> bool {
    match EVENTS.reserve::<T>(0) {
        Some(mut entry) => {
            fill(entry.as_mut_ptr());
            entry.submit(u64::from(BPF_RB_FORCE_WAKEUP));
            true
        }
        None => {
            count(counter::LOST);
            false
        }
    }
}

#[inline(always)]
fn wake_flags() -> u64 {
    let mark = u64::from(global!(WAKE_BYTES));
    let backlog = EVENTS.query(u64::from(BPF_RB_AVAIL_DATA));
    if backlog >= mark && backlog < mark + WAKE_WINDOW_BYTES {
        u64::from(BPF_RB_FORCE_WAKEUP)
    } else {
        u64::from(BPF_RB_NO_WAKEUP)
    }
}
