//! TIME_WAIT: it belongs to no process and no full socket; its timer shows when it begins and ends.
//!
//! The timer is part of `struct inet_timewait_sock`, whose cookie is the dead socket's. A
//! cancelled timer ends the TIME_WAIT, unless it is started again at once (a late FIN re-arms it).

use crate::kernel::{ABSENT, Address, global, load};
use crate::ring::{emit, header};
use crate::socket::{self, Common};
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use portleak_ebpf::kind;

/// `timer_start(struct timer_list *timer, unsigned long expires, …)` (include/trace/events/timer.h).
#[btf_tracepoint(function = "timer_start")]
fn timer_start(ctx: BtfTracePointContext) -> i32 {
    emit_if_ephemeral(ctx.arg(0), kind::TIME_WAIT_BEGAN);
    0
}

/// `timer_cancel(struct timer_list *timer)`: also fires when a timer expires, right before it runs.
#[btf_tracepoint(function = "timer_cancel")]
fn timer_cancel(ctx: BtfTracePointContext) -> i32 {
    emit_if_ephemeral(ctx.arg(0), kind::TIME_WAIT_ENDED);
    0
}

#[inline(always)]
fn emit_if_ephemeral(timer: Address, kind: u8) {
    if global!(OFF_TW_TIMER) == ABSENT || global!(TW_TIMER_HANDLER) == 0 {
        return;
    }
    if load::<u64>(timer, global!(OFF_TIMER_FUNCTION)) != global!(TW_TIMER_HANDLER) {
        return;
    }
    let tw = timer.wrapping_sub(u64::from(global!(OFF_TW_TIMER)));
    let cookie = socket::cookie(tw);
    if cookie == 0 {
        return; // No cookie: the connection was never tracked.
    }
    let common = Common::of(tw);
    let port = common.port();
    let (net, _) = common.namespace();
    let (low, high) = socket::range(net);
    if port >= low && port <= high {
        emit(header(kind, cookie));
    }
}
