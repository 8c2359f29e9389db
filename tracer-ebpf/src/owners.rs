//! Who owns ports: each owner's totals, its mark, and its name the first time.
//!
//! The name is both emitted and kept with the totals: an owner whose record is lost and that is gone
//! by the time that user space looks has no other.

use crate::atomic::add;
use crate::name::{self, Name};
use crate::ring::{count, emit, header};
use crate::task::{current_task, was_last_thread};
use crate::tree;
use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::{BPF_F_NO_PREALLOC, BPF_NOEXIST};
use aya_ebpf::macros::map;
use aya_ebpf::maps::HashMap;
use aya_log_ebpf::warn;
use core::ptr::{read_volatile, write_volatile};
use portleak_ebpf::{ForkRecord, Hold, OwnerKey, OwnerTotals, counter, kind, owner_flag, protocol};

/// Every owner's totals. User space removes owners that have ended and hold nothing.
#[map]
static OWNERS: HashMap<OwnerKey, OwnerTotals> = HashMap::with_max_entries(65_536, BPF_F_NO_PREALLOC);

/// Whether an owner has a place.
#[inline(always)]
pub(crate) fn contains(owner: &OwnerKey) -> bool {
    OWNERS.get_ptr(owner).is_some()
}

/// Adds `change` to what a hold's owner has acquired; a new owner first gets its place, and the name of
/// a new process is emitted. True if the owner belongs to the tree of `run`'s command.
#[inline(always)]
pub(crate) fn charge(ctx: &impl EbpfContext, hold: &Hold, change: u64) -> bool {
    let owner = &hold.owner;
    if let Some(totals) = OWNERS.get_ptr_mut(owner) {
        return acquired(totals, hold, change);
    }
    let is_descendant = owner.pid != 0 && tree::contains(owner);
    enter(owner, hold.netns, is_descendant);
    if let Some(totals) = OWNERS.get_ptr_mut(owner) {
        acquired(totals, hold, change);
    } else if count(counter::OWNERS_FULL) == 0 {
        warn!(ctx, "the table of owners is full: totals of pid {} are not kept", owner.pid);
    }
    is_descendant
}

/// Gives the current process, or the kernel, its place.
#[inline(always)]
fn enter(owner: &OwnerKey, netns: u32, is_descendant: bool) {
    let flags = if is_descendant { owner_flag::DESCENDANT } else { 0 };
    let name = if owner.pid == 0 { Name::NONE } else { Name::current() };
    let Name { ppid, uid, comm } = name;
    // Each field by itself: with a default and updates of it the kernel refuses the probe (EINVAL).
    let totals = OwnerTotals {
        tcp_acquired: 0,
        tcp_released: 0,
        udp_acquired: 0,
        udp_released: 0,
        flags,
        netns,
        ppid,
        comm,
        uid,
        several_netns: 0,
    };
    if OWNERS.insert(owner, totals, u64::from(BPF_NOEXIST)).is_ok() && owner.pid != 0 {
        name::emit_current(owner, &name, is_descendant);
        // A failed bind is seen when its socket is closed, which an ended process does last.
        if was_last_thread(current_task()) {
            end(owner);
        }
    }
}

/// Adds one to what an owner has released.
#[inline(always)]
pub(crate) fn credit(owner: &OwnerKey, protocol: u8) {
    if let Some(totals) = OWNERS.get_ptr_mut(owner) {
        // SAFETY: the map's own memory; the field is only ever added to atomically.
        unsafe {
            let field = if protocol == protocol::TCP {
                &raw mut (*totals).tcp_released
            } else {
                &raw mut (*totals).udp_released
            };
            add(field, 1);
        }
    }
}

/// Marks an owner as ended and emits its end, if it has a place and was not marked before.
#[inline(always)]
pub(crate) fn end(owner: &OwnerKey) {
    let Some(totals) = OWNERS.get_ptr_mut(owner) else {
        return;
    };
    // SAFETY: the map's own memory. Two last threads may both write, and write the same.
    let before = unsafe {
        let flags = &raw mut (*totals).flags;
        let before = read_volatile(flags);
        write_volatile(flags, before | owner_flag::ENDED);
        before
    };
    if before & owner_flag::ENDED == 0 {
        let header = header(kind::EXITED, 0);
        emit(ForkRecord { header, parent: OwnerKey::default(), child: *owner });
    }
}

/// Adds to what has been acquired; true if the owner is marked as a descendant.
#[inline(always)]
fn acquired(totals: *mut OwnerTotals, hold: &Hold, change: u64) -> bool {
    // SAFETY: the map's own memory; the count is only ever added to atomically, the rest is one store
    // each, of the same value whoever makes it.
    unsafe {
        let field = if hold.protocol == protocol::TCP {
            &raw mut (*totals).tcp_acquired
        } else {
            &raw mut (*totals).udp_acquired
        };
        add(field, change);
        if (*totals).netns != hold.netns {
            write_volatile(&raw mut (*totals).several_netns, 1);
        }
        read_volatile(&raw const (*totals).flags) & owner_flag::DESCENDANT != 0
    }
}
