//! The process tree of `portleak run`'s command: a mark that every child inherits.
//!
//! It is set at fork, before the child can run, and kept until the last thread has ended. So neither
//! a lost record nor a pid that is used again can change who belongs to the tree. A map and not task
//! storage, because 5.10 has none.

use crate::control::switch;
use crate::kernel::global;
use crate::ring::count;
use aya_ebpf::bindings::{BPF_ANY, BPF_F_NO_PREALLOC, bpf_pidns_info};
use aya_ebpf::helpers::generated::bpf_get_ns_current_pid_tgid;
use aya_ebpf::macros::map;
use aya_ebpf::maps::HashMap;
use portleak_ebpf::{OwnerKey, control, counter};

/// The members that live: when they were started, by pid.
#[map]
static TREE: HashMap<u32, u64> = HashMap::with_max_entries(65_536, BPF_F_NO_PREALLOC);

/// Whether a process belongs to the tree.
#[inline(always)]
pub(crate) fn contains(process: &OwnerKey) -> bool {
    // SAFETY: the map's own memory, read at once. An entry that another one has taken the place of
    // shows the start of another process.
    let started_ticks = TREE.get_ptr(process.pid).map(|started_ticks| unsafe { *started_ticks });
    started_ticks == Some(process.started_ticks)
}

/// The current task has forked `child`. True if the child belongs to the tree.
#[inline(always)]
pub(crate) fn inherit(parent: &OwnerKey, child: &OwnerKey) -> bool {
    if !contains(parent) && !is_root_parent() {
        return false;
    }
    let marked = TREE.insert(child.pid, child.started_ticks, u64::from(BPF_ANY)).is_ok();
    if !marked {
        count(counter::TREE_FULL);
    }
    marked
}

/// A process has ended.
#[inline(always)]
pub(crate) fn remove(process: &OwnerKey) {
    let _ = TREE.remove(process.pid);
}

/// Whether the current thread is the one that starts `run`'s command just now. Other threads of
/// portleak may fork meanwhile, so a process would not do; and user space knows its threads by the
/// ids of its own pid namespace only.
#[inline(always)]
fn is_root_parent() -> bool {
    let thread = switch(control::ROOT_PARENT);
    if thread == 0 {
        return false;
    }
    let (device, inode) = (global!(PIDNS_DEVICE), global!(PIDNS_INODE));
    let mut ids = bpf_pidns_info { pid: 0, tgid: 0 };
    let size = size_of::<bpf_pidns_info>() as u32;
    // SAFETY: the helper writes one struct of the size given.
    let result = unsafe { bpf_get_ns_current_pid_tgid(device, inode, &raw mut ids, size) };
    result == 0 && ids.pid == thread
}
