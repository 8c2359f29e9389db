//! The ledger: every hold in the pools, and how many each owner took and gave back.
//!
//! It lives in maps, not in the stream, so totals are right and user space can start afresh from
//! it when records were lost.

use crate::kernel::Address;
use crate::ring::{count, emit, emit_at_once, emit_hold, header};
use crate::site::{self, Hook};
use crate::socket::Common;
use crate::{process, socket, udp};
use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap};
use aya_log_ebpf::warn;
use core::ptr::read_volatile;
use portleak_ebpf::{Header, Hold, OwnerKey, OwnerTotals, control, counter, crowded_from, flag, kind};

/// `IPPROTO_TCP`.
pub(crate) const TCP: u8 = 6;
/// `IPPROTO_UDP`.
pub(crate) const UDP: u8 = 17;

/// Every hold, by socket cookie.
#[map]
static HOLDS: HashMap<u64, Hold> = HashMap::with_max_entries(262_144, 0);

/// Every owner's totals. User space removes owners that have ended and hold nothing.
#[map]
static OWNERS: HashMap<OwnerKey, OwnerTotals> = HashMap::with_max_entries(16_384, 0);

/// Switches that user space sets while the probes run; see [`control`].
#[map]
static CONTROL: Array<u32> = Array::with_max_entries(control::COUNT, 0);

/// How many UDP ports are held in each network namespace; user space corrects it now and then.
#[map]
static UDP_HELD: LruHashMap<u32, u64> = LruHashMap::with_max_entries(4096, 0);

/// What user space has set a switch to.
#[inline(always)]
pub(crate) fn asked(switch: u32) -> u32 {
    CONTROL.get(switch).copied().unwrap_or_default()
}

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

/// Enters a hold if its port lies in the pool, charges its owner and tells user space.
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
    if HOLDS.insert(cookie, hold, u64::from(BPF_NOEXIST)).is_err() && count(counter::HOLDS_FULL) == 0 {
        warn!(ctx, "the table of holds is full: port {} of pid {} is not tracked", hold.port, hold.owner.pid);
    }
    charge(ctx, &hold, 1);
    emit_hold(head, &hold);
    count_udp(&hold, 1);
}

/// Keeps the count of UDP ports, and tells user space when few are left: for a failed send to be
/// seen, a hook must be attached that every send of this machine has to pay for.
#[inline(always)]
fn count_udp(hold: &Hold, change: u64) {
    if hold.protocol != UDP {
        return;
    }
    if UDP_HELD.get_ptr(hold.netns).is_none() {
        let _ = UDP_HELD.insert(hold.netns, 0, u64::from(BPF_NOEXIST));
    }
    let Some(held) = UDP_HELD.get_ptr_mut(hold.netns) else {
        return;
    };
    // SAFETY: the map's own memory, only ever added to atomically.
    let held = unsafe {
        add(held, change);
        read_volatile(held)
    };
    let usable = u64::from(hold.range_high) + 1 - u64::from(hold.range_low);
    if change != 1 || held < crowded_from(usable) || held > usable {
        return;
    }
    if let Some(crowded) = CONTROL.get_ptr_mut(control::CROWDED) {
        // SAFETY: the map's own memory. Told twice is no harm.
        let told = unsafe { core::mem::replace(&mut *crowded, 1) };
        if told == 0 {
            emit_at_once(header(kind::CROWDED, u64::from(hold.netns)));
        }
    }
}

/// Sets whose pool it is that a hold is of; gives its namespace.
#[inline(always)]
fn set_pool(common: &Common, hold: &mut Hold) -> Address {
    let (net, netns) = common.namespace();
    (hold.range_low, hold.range_high) = socket::range(net);
    hold.netns = netns;
    net
}

/// Sets who wants a hold, and of which pool.
#[inline(always)]
pub(crate) fn describe(sk: Address, common: &Common, hold: &mut Hold) {
    set_pool(common, hold);
    hold.owner = socket::owner(sk, hold.protocol, hold.netns);
}

/// Tells of a hold that came to nothing for want of a port, and that nobody was told of before.
#[inline(always)]
pub(crate) fn fail(ctx: &impl EbpfContext, cookie: u64, hold: &Hold, errno: u8) {
    charge(ctx, hold, 0); // So that the owner has a name.
    emit_hold(Header { code: errno, ..header(kind::FAILED, cookie) }, hold);
}

/// Takes a hold out, credits its owner and tells user space.
#[inline(always)]
pub(crate) fn release(cookie: u64, hold: &Hold) {
    let (owner, protocol, port) = (hold.owner, hold.protocol, hold.port);
    let pool = Hold { protocol, netns: hold.netns, ..Hold::default() };
    if HOLDS.remove(cookie).is_err() {
        return; // Somebody else was first and has told it.
    }
    if protocol == UDP {
        udp::forget_sender(port);
    }
    count_udp(&pool, u64::MAX);
    if let Some(totals) = OWNERS.get_ptr_mut(owner) {
        // SAFETY: the map's own memory; the field is only ever added to atomically.
        unsafe {
            add(
                if protocol == TCP {
                    &raw mut (*totals).tcp_released
                } else {
                    &raw mut (*totals).udp_released
                },
                1,
            );
        }
    }
    emit(header(kind::RELEASED, cookie));
}

/// Takes back an acquisition that turned out to have found no port, and tells user space.
#[inline(always)]
pub(crate) fn retract(ctx: &impl EbpfContext, cookie: u64, hold: &Hold, errno: u8) {
    let hold = *hold;
    if HOLDS.remove(cookie).is_err() {
        return;
    }
    count_udp(&hold, u64::MAX);
    charge(ctx, &hold, u64::MAX);
    let header = Header { code: errno, ..header(kind::FAILED, cookie) };
    emit_hold(header, &hold);
}

/// Enters the number of a port that was chosen after its acquisition was told.
#[inline(always)]
pub(crate) fn confirm(hold: &mut Hold, port: u16) {
    hold.port = port;
    hold.flags &= !flag::UNCONFIRMED;
}

/// The same, and tells user space.
#[inline(always)]
pub(crate) fn learn(cookie: u64, hold: &mut Hold, port: u16) {
    confirm(hold, port);
    emit(Header { port, ..header(kind::LEARNT, cookie) });
}

/// `EAGAIN`.
pub(crate) const EAGAIN: u8 = 11;
/// `EADDRINUSE`.
pub(crate) const EADDRINUSE: u8 = 98;
/// `EADDRNOTAVAIL`.
pub(crate) const EADDRNOTAVAIL: u8 = 99;

/// While the start-up snapshot is taken: keeps user space from entering a socket that has ended.
#[inline(always)]
pub(crate) fn bury(cookie: u64) {
    if cookie != 0 && asked(control::SNAPSHOT) != 0 {
        let tombstone = Hold { flags: flag::TOMBSTONE, ..Hold::default() };
        if HOLDS.insert(cookie, tombstone, u64::from(BPF_NOEXIST)).is_ok() {
            emit(header(kind::BURIED, cookie));
        }
    }
}

/// Whether an owner has a place in the ledger.
#[inline(always)]
pub(crate) fn knows(owner: &OwnerKey) -> bool {
    OWNERS.get_ptr(owner).is_some()
}

/// Adds `change` to what the owner of a hold has acquired; a new owner first gets its place, and a
/// new process tells its name.
#[inline(always)]
fn charge(ctx: &impl EbpfContext, hold: &Hold, change: u64) {
    if let Some(totals) = OWNERS.get_ptr_mut(hold.owner) {
        return acquired(totals, hold.protocol, change);
    }
    if OWNERS.insert(hold.owner, OwnerTotals::default(), u64::from(BPF_NOEXIST)).is_ok()
        && hold.owner.pid != 0
    {
        process::name(hold.owner);
    }
    if let Some(totals) = OWNERS.get_ptr_mut(hold.owner) {
        acquired(totals, hold.protocol, change);
    } else if count(counter::OWNERS_FULL) == 0 {
        warn!(ctx, "the table of owners is full: totals of pid {} are not kept", hold.owner.pid);
    }
}

#[inline(always)]
fn acquired(totals: *mut OwnerTotals, protocol: u8, change: u64) {
    // SAFETY: the map's own memory; the field is only ever added to atomically.
    unsafe {
        let field =
            if protocol == TCP { &raw mut (*totals).tcp_acquired } else { &raw mut (*totals).udp_acquired };
        add(field, change);
    }
}

/// Adds to a number in a map's value, atomically: a hook in a softirq may do the same meanwhile.
/// (The compiler offers no atomic addition for this target, the instruction set has one.)
#[inline(always)]
unsafe fn add(total: *mut u64, change: u64) {
    // SAFETY: the caller gives an aligned u64 in a map's value.
    unsafe {
        core::arch::asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) total, in(reg) change, options(nostack));
    }
}
