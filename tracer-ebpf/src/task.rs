//! The process behind a `struct task_struct`.

use crate::kernel::{Address, global, read};
use aya_ebpf::helpers::bpf_get_current_task;
use portleak_ebpf::OwnerKey;

/// `/proc/PID/stat` counts in ticks of 1/USER_HZ s; USER_HZ is 100 on every architecture we build for.
const TICK_NS: u64 = 10_000_000;

#[inline(always)]
pub(crate) fn current_task() -> Address {
    // SAFETY: a helper without arguments.
    unsafe { bpf_get_current_task() }
}

/// The current process.
#[inline(always)]
pub(crate) fn current() -> OwnerKey {
    key(current_task())
}

/// The process that a task belongs to.
#[inline(always)]
pub(crate) fn key(task: Address) -> OwnerKey {
    let leader: Address = read(task, global!(OFF_TASK_LEADER));
    OwnerKey {
        started_ticks: read::<u64>(leader, global!(OFF_TASK_START)) / TICK_NS,
        pid: read(task, global!(OFF_TASK_TGID)),
        system_netns: 0,
    }
}

/// Whether a task is its process's first thread. A task that was just forked and is one is a process
/// of its own.
#[inline(always)]
pub(crate) fn is_leader(task: Address) -> bool {
    read::<u32>(task, global!(OFF_TASK_PID)) == read::<u32>(task, global!(OFF_TASK_TGID))
}

/// Whether no thread of an exiting task's process is left. `do_exit` (kernel/exit.c) has taken the
/// task off the count by the time that its tracepoint is reached. The first thread may be gone long
/// before: it can end alone, and an exec by another thread replaces it.
#[inline(always)]
pub(crate) fn was_last_thread(task: Address) -> bool {
    let signal: Address = read(task, global!(OFF_TASK_SIGNAL));
    read::<u32>(signal, global!(OFF_SIGNAL_LIVE)) == 0
}
