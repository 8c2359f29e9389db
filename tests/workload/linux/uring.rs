//! io_uring(7), as little as is needed: one operation at a time.
//!
//! Layouts: include/uapi/linux/io_uring.h.

use super::raw::checked;
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

/// `IORING_SETUP_SQPOLL`: a kernel thread takes the submissions.
pub(super) const SQPOLL: u32 = 2;
/// `IOSQE_FIXED_FILE`: `fd` is a slot of the ring's own table.
pub(super) const FIXED_FILE: u8 = 1;
/// `IORING_OP_CONNECT`.
pub(super) const CONNECT: u8 = 16;
/// `IORING_OP_CLOSE`.
pub(super) const CLOSE: u8 = 19;
/// `IORING_OP_SEND`.
pub(super) const SEND: u8 = 26;
/// `IORING_OP_SOCKET`.
pub(super) const SOCKET: u8 = 45;
/// `IORING_OP_BIND`.
pub(super) const BIND: u8 = 56;

const ENTRIES: u32 = 4;
const OFFSET_SQES: i64 = 0x1000_0000;
const ENTER_GETEVENTS: u32 = 1;
const ENTER_SQ_WAKEUP: u32 = 2;
const REGISTER_FILES: u32 = 2;
/// More than two rings of four entries need.
const RING_BYTES: usize = 4096;

/// `struct io_uring_sqe`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct Operation {
    pub(super) opcode: u8,
    pub(super) flags: u8,
    pub(super) ioprio: u16,
    pub(super) fd: i32,
    pub(super) off: u64,
    pub(super) addr: u64,
    pub(super) len: u32,
    pub(super) op_flags: u32,
    pub(super) user_data: u64,
    pub(super) buf_index: u16,
    pub(super) personality: u16,
    /// Slot of the table plus one; for [`SEND`] the length of the address.
    pub(super) file_index: u32,
    pub(super) more: [u64; 2],
}

/// `struct io_sqring_offsets` and `struct io_cqring_offsets`, which begin alike.
#[repr(C)]
struct Offsets {
    head: u32,
    tail: u32,
    ring_mask: u32,
    ring_entries: u32,
    flags_or_overflow: u32,
    dropped_or_cqes: u32,
    array_or_flags: u32,
    reserved: u32,
    user_addr: u64,
}

#[repr(C)]
struct Parameters {
    sq_entries: u32,
    cq_entries: u32,
    flags: u32,
    sq_thread_cpu: u32,
    sq_thread_idle: u32,
    features: u32,
    wq_fd: u32,
    reserved: [u32; 3],
    sq: Offsets,
    cq: Offsets,
}

/// A ring. Its memory stays mapped until the process ends.
pub(super) struct Ring {
    fd: OwnedFd,
    parameters: Parameters,
    rings: *mut u8,
    operations: *mut Operation,
}

impl Ring {
    pub(super) fn new(flags: u32) -> io::Result<Self> {
        const { assert!(size_of::<Operation>() == 64 && size_of::<Parameters>() == 120) };
        // SAFETY: plain data for which zeros are valid.
        let mut parameters: Parameters = unsafe { zeroed() };
        parameters.flags = flags;
        parameters.sq_thread_idle = 1000;
        // SAFETY: `parameters` is the kernel's to read and fill.
        let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, ENTRIES, &raw mut parameters) };
        let fd = checked(i32::try_from(fd).map_err(io::Error::other)?)?;
        // SAFETY: the kernel has just given this descriptor to us and to nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // Both rings lie in one mapping (IORING_FEAT_SINGLE_MMAP, since 5.4).
        let (rings, operations) = (map(&fd, RING_BYTES, 0)?, map(&fd, 4096, OFFSET_SQES)?);
        Ok(Self { fd, parameters, rings, operations: operations.cast() })
    }

    /// Gives the ring a table of its own with one free slot.
    pub(super) fn add_table(&self) -> io::Result<()> {
        let free: i32 = -1;
        let (fd, table) = (self.fd.as_raw_fd(), &raw const free);
        // SAFETY: a table of one descriptor, and its length.
        let added = unsafe { libc::syscall(libc::SYS_io_uring_register, fd, REGISTER_FILES, table, 1) };
        if added < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Has one operation done and returns its result.
    pub(super) fn perform(&self, operation: &Operation) -> io::Result<i32> {
        let (sq, cq) = (&self.parameters.sq, &self.parameters.cq);
        let tail = self.counter(sq.tail);
        let slot = tail.load(Ordering::Relaxed) % ENTRIES;
        // SAFETY: slot lies within the mapped entries, which the kernel does not touch before the
        // tail has passed them; the index array lies in the mapped rings.
        unsafe {
            self.operations.add(slot as usize).write(*operation);
            self.rings.add(sq.array_or_flags as usize).cast::<u32>().add(slot as usize).write(slot);
        }
        tail.fetch_add(1, Ordering::Release);
        self.enter()?;
        let (head, done) = (self.counter(cq.head), self.counter(cq.tail));
        while head.load(Ordering::Relaxed) == done.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        let entry = head.load(Ordering::Relaxed) % self.parameters.cq_entries;
        // SAFETY: `struct io_uring_cqe` is 16 bytes, the result is at 8; the entry is complete.
        let result = unsafe {
            let entries = self.rings.add(cq.dropped_or_cqes as usize);
            entries.add(entry as usize * 16 + 8).cast::<i32>().read()
        };
        head.fetch_add(1, Ordering::Release);
        if result < 0 { Err(io::Error::from_raw_os_error(-result)) } else { Ok(result) }
    }

    fn enter(&self) -> io::Result<()> {
        let (fd, flags) = (self.fd.as_raw_fd(), ENTER_GETEVENTS | ENTER_SQ_WAKEUP);
        // SAFETY: no signal mask is passed.
        let entered = unsafe {
            libc::syscall(libc::SYS_io_uring_enter, fd, 1, 1, flags, ptr::null::<libc::sigset_t>(), 0)
        };
        if entered < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    fn counter(&self, offset: u32) -> &AtomicU32 {
        // SAFETY: the kernel's own offset into the mapped rings, of an aligned u32 that both change
        // atomically.
        unsafe { AtomicU32::from_ptr(self.rings.add(offset as usize).cast()) }
    }
}

fn map(fd: &OwnedFd, bytes: usize, offset: i64) -> io::Result<*mut u8> {
    let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_POPULATE);
    // SAFETY: a new mapping; the kernel chooses where.
    let mapped = unsafe { libc::mmap(ptr::null_mut(), bytes, access, kind, fd.as_raw_fd(), offset) };
    if mapped == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(mapped.cast()) }
}
