//! Who holds which socket, listed by the kernel itself when user space asks.
//!
//! `/proc/PID/fd` shows the same, but each link takes some 4 µs to read, and a busy host has tens of
//! thousands.

use crate::kernel::{Address, global, load};
use crate::task;
use aya_ebpf::helpers::generated::{bpf_seq_write, bpf_sock_from_file};
use core::ffi::c_void;
use portleak_ebpf::SocketFile;

/// Of `struct bpf_iter__task_file` (kernel/bpf/task_iter.c) and `struct bpf_iter_meta`
/// (include/linux/bpf.h): both are what programs see, and do not change.
const META: u32 = 0;
const TASK: u32 = 8;
const FILE: u32 = 24;
const META_SEQ: u32 = 0;

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// Called for every open file of every process (threads that share a table are skipped), and once
/// more at the end, without a file.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
fn socket_files(ctx: *mut c_void) -> i32 {
    let ctx = ctx as Address;
    let (task, file): (Address, Address) = (load(ctx, TASK), load(ctx, FILE));
    if task == 0 || file == 0 {
        return 0;
    }
    // SAFETY: the helper takes any file that the verifier knows, as this one.
    let socket = unsafe { bpf_sock_from_file(file as *mut _) } as Address;
    if socket == 0 {
        return 0;
    }
    let sk: Address = load(socket, global!(OFF_SOCKET_SK));
    if sk == 0 || !matches!(load(sk, global!(OFF_SK_FAMILY)), AF_INET | AF_INET6) {
        return 0;
    }
    let inode: Address = load(file, global!(OFF_FILE_INODE));
    let owner = task::key(task);
    let line = SocketFile {
        started_ticks: owner.started_ticks,
        pid: owner.pid,
        inode: load(inode, global!(OFF_INODE_NUMBER)),
    };
    let meta: Address = load(ctx, META);
    let seq: Address = load(meta, META_SEQ);
    // SAFETY: `seq` is the listing that this call is for; the line is plain integers. One that does
    // not fit any more is listed again in the next read.
    unsafe {
        bpf_seq_write(seq as *mut _, (&raw const line).cast_mut().cast(), size_of::<SocketFile>() as u32);
    }
    0
}
