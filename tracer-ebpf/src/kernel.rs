//! The running kernel's layout, and reading its memory by it.
//!
//! No offset is compiled in: user space reads the kernel's BTF and sets these globals before
//! loading. They are read-only to the verifier, which then sees constants and removes what a
//! missing field (`ABSENT`) makes dead.

use aya_ebpf::helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_user};
use core::mem::{MaybeUninit, size_of};

/// The value of an offset whose field this kernel does not have.
pub(crate) const ABSENT: u32 = u32::MAX;

macro_rules! layout {
    ($($name:ident),* $(,)?) => {
        $(#[unsafe(no_mangle)] pub(crate) static $name: u32 = ABSENT;)*
    };
}

layout! {
    OFF_SK_NUM, OFF_SK_COOKIE, OFF_SK_FAMILY, OFF_SK_DPORT, OFF_SK_DADDR, OFF_SK_RCV_SADDR,
    OFF_SK_V6_DADDR, OFF_SK_V6_RCV_SADDR, OFF_SK_NET, OFF_NET_INUM, OFF_SK_KERN, SK_KERN_SHIFT,
    OFF_SK_PROTOCOL, OFF_TCP_MPTCP, TCP_MPTCP_SHIFT, OFF_INET_SPORT,
    OFF_SK_TXHASH, OFF_SK_NO_PORT, SK_NO_PORT_SHIFT,
    OFF_TASK_TGID, OFF_TASK_PID, OFF_TASK_LEADER, OFF_TASK_START, OFF_TASK_COMM, OFF_TASK_PARENT,
    OFF_TASK_CRED, OFF_CRED_UID, OFF_TASK_MM, OFF_MM_ARG_START, OFF_MM_ARG_END,
    OFF_TASK_NSPROXY, OFF_NSPROXY_NET, OFF_TASK_SIGNAL, OFF_SIGNAL_LIVE,
    OFF_NET_PORT_RANGE, PORT_RANGE_PACKED, OFF_NET_RESERVED,
    OFF_TW_TIMER, OFF_TIMER_FUNCTION,
    OFF_SOCKET_SK, OFF_FILE_INODE, OFF_INODE_NUMBER,
    WAKE_BYTES, CAN_ASK_COOKIE, CAN_ASK_VERDICT, STACKS, CAN_WALK_TASK,
}

/// Address of `tw_timer_handler`, 0 when unknown.
#[unsafe(no_mangle)]
pub(crate) static TW_TIMER_HANDLER: u64 = 0;

/// portleak's own pid namespace, as `stat` shows its file: the device in the kernel's encoding, and
/// the inode.
#[unsafe(no_mangle)]
pub(crate) static PIDNS_DEVICE: u64 = 0;
#[unsafe(no_mangle)]
pub(crate) static PIDNS_INODE: u64 = 0;

/// The value that user space gave a global.
macro_rules! global {
    ($name:ident) => {
        // SAFETY: a static of this object; volatile so that the compiler does not use its default.
        unsafe { core::ptr::read_volatile(&raw const $crate::kernel::$name) }
    };
}
pub(crate) use global;

/// A kernel pointer held as a number: nothing may be loaded through it but by [`read`].
pub(crate) type Address = u64;

/// Reads a `T` at `base + offset` in kernel memory; zero when it cannot be read.
#[inline(always)]
pub(crate) fn read<T: Copy>(base: Address, offset: u32) -> T {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: the helper checks the source address and always writes size_of::<T>() bytes, zeros
    // when it cannot read. T is an integer or an array of them at every call.
    unsafe {
        bpf_probe_read_kernel(
            value.as_mut_ptr().cast(),
            size_of::<T>() as u32,
            base.wrapping_add(u64::from(offset)) as *const _,
        );
        value.assume_init()
    }
}

/// Loads a `T` at `base + offset`, where `base` is an argument of a BTF tracepoint: the verifier
/// knows its type, checks the access, and a fault reads as zero. Cheaper than [`read`].
#[inline(always)]
pub(crate) fn load<T: Copy>(base: Address, offset: u32) -> T {
    // SAFETY: as said; T is an integer at every call. Volatile, lest the compiler splits the load.
    unsafe { core::ptr::read_volatile((base as *const u8).wrapping_add(offset as usize).cast()) }
}

/// Reads `bytes` of the current task's memory at `from` into `to`.
#[inline(always)]
pub(crate) fn read_user(to: *mut u8, bytes: u32, from: Address) -> bool {
    // SAFETY: the helper checks the source; `to` has room for `bytes` (the verifier checks it).
    unsafe { bpf_probe_read_user(to.cast(), bytes, from as *const _) == 0 }
}

/// The address of a socket that the verifier guards: it forbids arithmetic on such a pointer, so
/// the number is fetched from the stack, where the pointer is spilled.
#[inline(always)]
pub(crate) fn address<T>(guarded: *mut T) -> Address {
    let spilled = guarded;
    read((&raw const spilled) as Address, 0)
}
