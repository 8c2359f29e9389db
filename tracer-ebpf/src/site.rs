//! Call sites: the stack that acquired a port, emitted once and then referred to by its number.
//!
//! The number is a hash of the owner and the return addresses, so equal stacks of one process have
//! the same one without any table being asked. It is 0 when no stack was taken.

use crate::kernel::global;
use crate::ring::{emit_large, header};
use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::{BPF_F_USER_STACK, BPF_NOEXIST};
use aya_ebpf::helpers::generated::{bpf_get_current_task_btf, bpf_get_stack, bpf_get_task_stack};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{LruHashMap, PerCpuArray};
use core::ptr::read_volatile;
use portleak_ebpf::{FRAMES_MAX, OwnerKey, SiteRecord, kind, stacks};

/// Room for one stack, too large for a probe's own.
#[repr(C)]
struct Scratch {
    /// Whose stack it is: another task that runs here meanwhile puts its own socket's cookie.
    cookie: u64,
    frames: [u64; FRAMES_MAX],
}

#[map]
static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

/// Sites that have been emitted. One that was evicted is emitted again.
#[map]
static SITES: LruHashMap<u64, u8> = LruHashMap::with_max_entries(16_384, 0);

/// The kind of hook, which decides how a stack can be had.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hook {
    /// A BTF tracepoint: every kernel lets it ask for a stack.
    Tracepoint,
    /// A cgroup hook: `bpf_get_task_stack` of the current task, on kernels that permit it.
    Cgroup,
}

/// The site of what the current task does with the socket `cookie`, on behalf of `owner`.
#[inline(always)]
pub(crate) fn site(ctx: &impl EbpfContext, hook: Hook, cookie: u64, owner: OwnerKey) -> u64 {
    let wanted = if owner.pid == 0 { stacks::KERNEL } else { stacks::ALL };
    if global!(STACKS) < wanted || (hook == Hook::Cgroup && global!(CAN_WALK_TASK) == 0) {
        return 0;
    }
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: the map's own memory, this CPU's slot. A task that was put in place of this one
    // writes its own stack there; the cookie shows it.
    unsafe {
        (*scratch).cookie = cookie;
        let frames = walk(ctx, hook, owner, &raw mut (*scratch).frames);
        if frames == 0 {
            return 0;
        }
        let site = hash(&(*scratch).frames, frames, owner);
        if SITES.get_ptr(site).is_none() && emit_site(site, owner, frames, scratch) {
            let _ = SITES.insert(site, 1, u64::from(BPF_NOEXIST));
        }
        if read_volatile(&raw const (*scratch).cookie) == cookie { site } else { 0 }
    }
}

/// Writes the stack's return addresses, innermost first; returns how many.
#[inline(always)]
fn walk(ctx: &impl EbpfContext, hook: Hook, owner: OwnerKey, frames: *mut [u64; FRAMES_MAX]) -> u32 {
    const BYTES: u32 = (FRAMES_MAX * size_of::<u64>()) as u32;
    let flags = if owner.pid == 0 { 0 } else { u64::from(BPF_F_USER_STACK) };
    // SAFETY: `frames` has room for BYTES; the context and the task are the helpers' own kinds.
    let bytes = unsafe {
        if hook == Hook::Tracepoint {
            bpf_get_stack(ctx.as_ptr(), frames.cast(), BYTES, flags)
        } else {
            bpf_get_task_stack(bpf_get_current_task_btf(), frames.cast(), BYTES, flags)
        }
    };
    if bytes <= 0 { 0 } else { (bytes as u32 / 8).min(FRAMES_MAX as u32) }
}

/// A hash (FNV-1a over words, then mixed) that is never 0.
#[inline(always)]
fn hash(frames: &[u64; FRAMES_MAX], count: u32, owner: OwnerKey) -> u64 {
    const PRIME: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut hash = owner.started_ticks.wrapping_mul(PRIME) ^ u64::from(owner.pid | owner.system_netns);
    for (at, frame) in frames.iter().enumerate() {
        if at as u32 >= count {
            break;
        }
        hash = (hash ^ frame).wrapping_mul(PRIME);
        hash ^= hash >> 32;
    }
    hash | 1
}

/// Sends a site's frames; false if there was no room.
#[inline(always)]
fn emit_site(site: u64, owner: OwnerKey, count: u32, scratch: *const Scratch) -> bool {
    emit_large::<SiteRecord>(|record| {
        // SAFETY: `record` is the reserved entry, all of it integers, and all of it is written.
        unsafe {
            (*record).header = header(kind::SITE, site);
            (*record).owner = owner;
            (*record).count = count;
            (*record).reserved = 0;
            (*record).frames = (*scratch).frames;
        }
    })
}
