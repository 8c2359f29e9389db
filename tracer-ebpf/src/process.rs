//! Who the current task is, and the lives of processes that own ports.

use crate::kernel::{Address, global, read, read_user};
use crate::ledger;
use crate::ring::{emit, emit_large, header};
use aya_ebpf::helpers::bpf_get_current_task;
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use portleak_ebpf::{CMDLINE_MAX, ForkRecord, OwnerKey, ProcessRecord, kind};

/// `/proc/PID/stat` counts in ticks of 1/USER_HZ s; USER_HZ is 100 on every architecture we build for.
const TICK_NS: u64 = 10_000_000;

#[inline(always)]
fn current_task() -> Address {
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

#[inline(always)]
fn is_leader(task: Address) -> bool {
    read::<u32>(task, global!(OFF_TASK_PID)) == read::<u32>(task, global!(OFF_TASK_TGID))
}

/// Tells user space what the current process is called.
#[inline(always)]
pub(crate) fn name(owner: OwnerKey) {
    let task = current_task();
    let leader: Address = read(task, global!(OFF_TASK_LEADER));
    let parent: Address = read(leader, global!(OFF_TASK_PARENT));
    let cred: Address = read(task, global!(OFF_TASK_CRED));
    let nsproxy: Address = read(task, global!(OFF_TASK_NSPROXY));
    let net: Address = read(nsproxy, global!(OFF_NSPROXY_NET));
    let (ppid, uid) = (read(parent, global!(OFF_TASK_TGID)), read(cred, global!(OFF_CRED_UID)));
    let (netns, comm) = (read(net, global!(OFF_NET_INUM)), read(leader, global!(OFF_TASK_COMM)));
    emit_large::<ProcessRecord>(|record| {
        // SAFETY: `record` is the reserved entry; all of it is integers, and all that has a
        // meaning is written here.
        unsafe {
            (*record).header = header(kind::PROCESS, 0);
            (*record).owner = owner;
            (*record).ppid = ppid;
            (*record).uid = uid;
            (*record).netns = netns;
            (*record).comm = comm;
            (*record).cmdline_bytes = cmdline(task, (&raw mut (*record).cmdline).cast());
        }
    });
}

/// Reads the start of the current process's command line; says how many bytes.
#[inline(always)]
fn cmdline(task: Address, to: *mut u8) -> u32 {
    let mm: Address = read(task, global!(OFF_TASK_MM));
    if mm == 0 {
        return 0;
    }
    let start: Address = read(mm, global!(OFF_MM_ARG_START));
    let end: Address = read(mm, global!(OFF_MM_ARG_END));
    let mut bytes = end.wrapping_sub(start);
    if bytes > CMDLINE_MAX as u64 {
        bytes = CMDLINE_MAX as u64;
    }
    if bytes > 0 && read_user(to, bytes as u32, start) { bytes as u32 } else { 0 }
}

/// `sched_process_exec(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`:
/// an owner got another name.
#[btf_tracepoint(function = "sched_process_exec")]
fn sched_process_exec(_ctx: BtfTracePointContext) -> i32 {
    let owner = current();
    if ledger::knows(&owner) {
        name(owner);
    }
    0
}

/// `sched_process_fork(struct task_struct *parent, struct task_struct *child)`: descendants.
#[btf_tracepoint(function = "sched_process_fork")]
fn sched_process_fork(ctx: BtfTracePointContext) -> i32 {
    let parent: Address = ctx.arg(0);
    let child: Address = ctx.arg(1);
    if is_leader(child) {
        emit(ForkRecord { header: header(kind::FORKED, 0), parent: key(parent), child: key(child) });
    }
    0
}

/// `sched_process_exit(struct task_struct *p)`: an owner ended; its releases come after this.
#[btf_tracepoint(function = "sched_process_exit")]
fn sched_process_exit(ctx: BtfTracePointContext) -> i32 {
    let task: Address = ctx.arg(0);
    let child = key(task);
    if is_leader(task) && ledger::knows(&child) {
        emit(ForkRecord { header: header(kind::EXITED, 0), parent: OwnerKey::default(), child });
    }
    0
}
