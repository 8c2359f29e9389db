//! What the current process is called: command name, command line, user, parent, namespace.
//!
//! A record has all of it. The short part goes into the ledger as well, for it has to name the process
//! when that record is lost.

use crate::kernel::{Address, global, read, read_user};
use crate::ring::{emit_large, header};
use crate::task::current_task;
use portleak_ebpf::{CMDLINE_MAX, DESCENDANT, Header, OwnerKey, ProcessRecord, kind};

/// What is read at once.
#[derive(Clone, Copy)]
pub(crate) struct Name {
    pub(crate) ppid: u32,
    pub(crate) uid: u32,
    pub(crate) comm: [u64; 2],
}

impl Name {
    /// The kernel's.
    pub(crate) const NONE: Self = Self { ppid: 0, uid: 0, comm: [0; 2] };

    /// Of the current process.
    #[inline(always)]
    pub(crate) fn current() -> Self {
        let task = current_task();
        let leader: Address = read(task, global!(OFF_TASK_LEADER));
        let parent: Address = read(leader, global!(OFF_TASK_PARENT));
        let cred: Address = read(task, global!(OFF_TASK_CRED));
        Self {
            ppid: read(parent, global!(OFF_TASK_TGID)),
            uid: read(cred, global!(OFF_CRED_UID)),
            comm: read(leader, global!(OFF_TASK_COMM)),
        }
    }
}

/// Emits the name of the current process, which is `owner`.
#[inline(always)]
pub(crate) fn emit_current(owner: &OwnerKey, name: &Name, is_descendant: bool) {
    let task = current_task();
    let nsproxy: Address = read(task, global!(OFF_TASK_NSPROXY));
    let net: Address = read(nsproxy, global!(OFF_NSPROXY_NET));
    let netns = read(net, global!(OFF_NET_INUM));
    let code = if is_descendant { DESCENDANT } else { 0 };
    emit_large::<ProcessRecord>(|record| {
        // SAFETY: `record` is the reserved entry; all of it is integers, and all that has a
        // meaning is written here.
        unsafe {
            (*record).header = Header { code, ..header(kind::PROCESS, 0) };
            (*record).owner = *owner;
            (*record).ppid = name.ppid;
            (*record).uid = name.uid;
            (*record).netns = netns;
            (*record).comm = name.comm;
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
