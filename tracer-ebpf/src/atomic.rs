//! Atomic addition in a map's value: a hook in a softirq may change the same number meanwhile.

/// Adds to a number. The compiler offers no atomic addition for this target; the instruction set has
/// one.
///
/// # Safety
/// `total` is an aligned u64 in a map's value.
#[inline(always)]
pub(crate) unsafe fn add(total: *mut u64, change: u64) {
    // SAFETY: as the caller promises.
    unsafe {
        core::arch::asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) total, in(reg) change, options(nostack));
    }
}
