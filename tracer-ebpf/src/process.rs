//! The lives of processes: forked, renamed by exec, ended.

use crate::kernel::Address;
use crate::name::{self, Name};
use crate::ring::{emit, header};
use crate::task::{current, is_leader, key, was_last_thread};
use crate::{owners, tree};
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use portleak_ebpf::{DESCENDANT, ForkRecord, Header, kind};

/// `sched_process_fork(struct task_struct *parent, struct task_struct *child)`, in the parent, before
/// the child runs (`kernel_clone`, kernel/fork.c).
#[btf_tracepoint(function = "sched_process_fork")]
fn sched_process_fork(ctx: BtfTracePointContext) -> i32 {
    let (parent, child): (Address, Address) = (ctx.arg(0), ctx.arg(1));
    if is_leader(child) {
        let (parent, child) = (key(parent), key(child));
        let code = if tree::inherit(&parent, &child) { DESCENDANT } else { 0 };
        emit(ForkRecord { header: Header { code, ..header(kind::FORKED, 0) }, parent, child });
    }
    0
}

/// `sched_process_exec(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`:
/// an owner got another name.
#[btf_tracepoint(function = "sched_process_exec")]
fn sched_process_exec(_ctx: BtfTracePointContext) -> i32 {
    let owner = current();
    if owners::contains(&owner) {
        name::emit_current(&owner, &Name::current(), tree::contains(&owner));
    }
    0
}

/// `sched_process_exit(struct task_struct *p)`: a thread ended. With the last one its process has; the
/// releases of its ports come after this.
#[btf_tracepoint(function = "sched_process_exit")]
fn sched_process_exit(ctx: BtfTracePointContext) -> i32 {
    let task: Address = ctx.arg(0);
    if !was_last_thread(task) {
        return 0;
    }
    let child = key(task);
    tree::remove(&child);
    owners::end(&child);
    0
}
