//! What the current process is called: command name, command line, user, parent, namespace.

use crate::kernel::{Address, global, read, read_user};
use crate::ring::{emit_large, header};
use crate::task::current_task;
use portleak_ebpf::{CMDLINE_MAX, DESCENDANT, Header, OwnerKey, ProcessRecord, kind};

/// Emits the name of the current process, which is `owner`.
#[inline(always)]
pub(crate) fn emit_current(owner: &OwnerKey, is_descendant: bool) {
    let task = current_task();
    let leader: Address = read(task, global!(OFF_TASK_LEADER));
    let parent: Address = read(leader, global!(OFF_TASK_PARENT));
    let cred: Address = read(task, global!(OFF_TASK_CRED));
    let nsproxy: Address = read(task, global!(OFF_TASK_NSPROXY));
    let net: Address = read(nsproxy, global!(OFF_NSPROXY_NET));
    let (ppid, uid) = (read(parent, global!(OFF_TASK_TGID)), read(cred, global!(OFF_CRED_UID)));
    let (netns, comm) = (read(net, global!(OFF_NET_INUM)), read(leader, global!(OFF_TASK_COMM)));
    let code = if is_descendant { DESCENDANT } else { 0 };
    emit_large::<ProcessRecord>(|record| {
        // SAFETY: `record` is the reserved entry; all of it is integers, and all that has a
        // meaning is written here.
        unsafe {
            (*record).header = Header { code, ..header(kind::PROCESS, 0) };
            (*record).owner = *owner;
            (*record).ppid = ppid;
            (*record).uid = uid;
            (*record).netns = netns;
            (*record).comm = comm;
            (*record).cmdline_bytes = cmdline(task, (&raw mut (*record).cmdline).cast());
        }
    });
}

/// Reads the start of a process's command line from the current process's memory; returns the
/// number of bytes.
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
