//! The ledger: every hold in the pools.
//!
//! It lives in maps, not in the stream, so totals are right and user space can start afresh from
//! it when records were lost. An entry is allocated when its port is acquired: a preallocated map of
//! this size would take 40 MB on a machine that holds ten ports. None of our hooks runs inside the
//! kernel's allocator, so this is safe on the kernels before 6.1, whose maps call it directly.

use crate::control::switch;
use crate::kernel::Address;
use crate::ring::{count, emit, emit_hold, header};
use crate::site::{self, Hook};
use crate::socket::{self, Common};
use crate::{owners, senders, udp_pool};
use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::{BPF_F_NO_PREALLOC, BPF_NOEXIST};
use aya_ebpf::macros::map;
use aya_ebpf::maps::HashMap;
use aya_log_ebpf::warn;
use portleak_ebpf::{Header, Hold, control, counter, flag, kind, protocol};

/// Every hold, by socket cookie.
#[map]
static HOLDS: HashMap<u64, Hold> = HashMap::with_max_entries(262_144, BPF_F_NO_PREALLOC);

/// The hold of a socket.
#[inline(always)]
pub(crate) fn find(cookie: u64) -> Option<&'static mut Hold> {
    if cookie == 0 {
        return None;
    }
    // SAFETY: the map's own memory. A hold is changed only by hooks that run under its socket's
    // lock, and removed last; an entry reused under a late reader shows another hold's integers.
    HOLDS
        .get_ptr_mut(cookie)
        .map(|hold| unsafe { &mut *hold })
        .filter(|hold| hold.flags & flag::TOMBSTONE == 0)
}

/// Enters a hold if its port lies in the pool, charges its owner and emits a record.
///
/// `hold` comes with protocol, state, flags, endpoints and port set.
#[inline(always)]
pub(crate) fn acquire(
    ctx: &impl EbpfContext,
    hook: Hook,
    sk: Address,
    common: &Common,
    cookie: u64,
    mut hold: Hold,
) {
    let net = set_pool(common, &mut hold);
    let outside = hold.port < hold.range_low || hold.port > hold.range_high;
    let unconfirmed = hold.flags & flag::UNCONFIRMED != 0;
    if !unconfirmed && (outside || socket::is_reserved(net, hold.port)) {
        return;
    }
    hold.owner = socket::owner(sk, hold.protocol, hold.netns);
    hold.site = site::site(ctx, hook, cookie, hold.owner);
    let head = header(kind::ACQUIRED, cookie);
    hold.acquired_ns = head.at_ns;
    charge(ctx, &mut hold, 1);
    if HOLDS.insert(cookie, hold, u64::from(BPF_NOEXIST)).is_err() && count(counter::HOLDS_FULL) == 0 {
        warn!(ctx, "the table of holds is full: port {} of pid {} is not tracked", hold.port, hold.owner.pid);
    }
    emit_hold(head, &hold);
    udp_pool::taken(&hold);
}

/// Charges a hold's owner, and marks the hold if the owner is a descendant of `run`'s command.
#[inline(always)]
fn charge(ctx: &impl EbpfContext, hold: &mut Hold, change: u64) {
    if owners::charge(ctx, hold, change) {
        hold.flags |= flag::DESCENDANT;
    }
}

/// Fills a hold's namespace and the pool's range; returns the namespace's address.
#[inline(always)]
fn set_pool(common: &Common, hold: &mut Hold) -> Address {
    let (net, netns) = common.namespace();
    (hold.range_low, hold.range_high) = socket::range(net);
    hold.netns = netns;
    net
}

/// Fills a hold's pool and its owner.
#[inline(always)]
pub(crate) fn describe(sk: Address, common: &Common, hold: &mut Hold) {
    set_pool(common, hold);
    hold.owner = socket::owner(sk, hold.protocol, hold.netns);
}

/// Emits the failure of an allocation that was not entered before.
#[inline(always)]
pub(crate) fn fail(ctx: &impl EbpfContext, cookie: u64, hold: &Hold, errno: u8) {
    let mut hold = *hold;
    charge(ctx, &mut hold, 0); // So that the owner has a name.
    emit_hold(Header { code: errno, ..header(kind::FAILED, cookie) }, &hold);
}

/// Takes a hold out, credits its owner and emits a record.
#[inline(always)]
pub(crate) fn release(cookie: u64, hold: &Hold) {
    let (owner, protocol, port) = (hold.owner, hold.protocol, hold.port);
    let pool = Hold { protocol, netns: hold.netns, ..Hold::default() };
    if HOLDS.remove(cookie).is_err() {
        return; // Another hook was first and has emitted it.
    }
    if protocol == protocol::UDP {
        senders::forget(port);
    }
    udp_pool::freed(&pool);
    owners::credit(&owner, protocol);
    emit(header(kind::RELEASED, cookie));
}

/// Takes back an acquisition that turned out to have found no port, and emits the failure.
#[inline(always)]
pub(crate) fn retract(ctx: &impl EbpfContext, cookie: u64, hold: &Hold, errno: u8) {
    let mut hold = *hold;
    if HOLDS.remove(cookie).is_err() {
        return;
    }
    udp_pool::freed(&hold);
    charge(ctx, &mut hold, u64::MAX);
    emit_hold(Header { code: errno, ..header(kind::FAILED, cookie) }, &hold);
}

/// Enters the number of a port that was chosen after its acquisition was emitted.
#[inline(always)]
pub(crate) fn confirm(hold: &mut Hold, port: u16) {
    hold.port = port;
    hold.flags &= !flag::UNCONFIRMED;
}

/// The same, and emits the number.
#[inline(always)]
pub(crate) fn learn(cookie: u64, hold: &mut Hold, port: u16) {
    confirm(hold, port);
    emit(Header { port, ..header(kind::LEARNT, cookie) });
}

/// A socket without a hold has ended. While the start-up snapshot is taken this keeps user space from
/// entering it.
#[inline(always)]
pub(crate) fn ended_untracked(cookie: u64) {
    if cookie != 0 && switch(control::SNAPSHOT) != 0 {
        let tombstone = Hold { flags: flag::TOMBSTONE, ..Hold::default() };
        if HOLDS.insert(cookie, tombstone, u64::from(BPF_NOEXIST)).is_ok() {
            emit(header(kind::ENDED_UNTRACKED, cookie));
        }
    }
}
