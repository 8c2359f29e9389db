//! Binds that have asked for a port and not got one yet.
//!
//! Before a bind and after a successful one the kernel runs a hook, after a failed one it runs
//! nothing. So a bind that leaves the choice of the port to the kernel is noted before. The hook after
//! it removes the note. A note that is still there when the socket is bound again or closed was a
//! failure; user space looks after those whose socket does neither. Where function probes show which
//! binds find no port, only what they see counts as a failure.

use crate::control::switch;
use crate::ledger;
use crate::ring::count;
use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::BPF_ANY;
use aya_ebpf::macros::map;
use aya_ebpf::maps::HashMap;
use portleak_ebpf::{Hold, control, counter, errno};

/// By socket cookie.
#[map]
static BINDS: HashMap<u64, Hold> = HashMap::with_max_entries(4096, 0);

/// A bind begins.
#[inline(always)]
pub(crate) fn insert(cookie: u64, hold: &Hold) {
    if BINDS.insert(cookie, hold, u64::from(BPF_ANY)).is_err() {
        count(counter::LOST);
    }
}

/// A bind has got its port.
#[inline(always)]
pub(crate) fn remove(cookie: u64) {
    let _ = BINDS.remove(cookie);
}

/// Emits the failure of the bind that this socket tried before, if there is one.
#[inline(always)]
pub(crate) fn failed_before(ctx: &impl EbpfContext, cookie: u64) {
    if switch(control::BINDS_SEEN) == 0 {
        refused(ctx, cookie);
    } else {
        remove(cookie);
    }
}

/// Emits that this socket's bind has found no port. False if it is not being bound.
#[inline(always)]
pub(crate) fn refused(ctx: &impl EbpfContext, cookie: u64) -> bool {
    let Some(noted) = BINDS.get_ptr(cookie) else {
        return false;
    };
    // SAFETY: the map's own memory, copied before the entry is removed.
    let hold = unsafe { *noted };
    if BINDS.remove(cookie).is_ok() {
        ledger::fail(ctx, cookie, &hold, errno::EADDRINUSE);
    }
    true
}
