//! The wire format between the probes (this package's bin) and user space, defined once for both sides.
//!
//! Records are fixed-size for their kind and hold integers and byte arrays only: no enum crosses
//! the boundary, so no byte pattern is invalid and a decoder can be total.
//!
//! The probes are compiled by `cargo xtask build-probes` and committed, so that whoever builds
//! portleak needs stable Rust and nothing else: [`PROBES`].
#![no_std]

use core::mem::{offset_of, size_of};

/// The compiled probes, an ELF object for the kernel's BPF loader, aligned for parsing in place.
#[cfg(not(target_arch = "bpf"))]
pub static PROBES: &[u8] = {
    #[repr(C, align(64))]
    struct Aligned<B: ?Sized>(B);
    static OBJECT: &Aligned<[u8]> = &Aligned(*include_bytes!("../prebuilt/probes.bpf.o"));
    &OBJECT.0
};

/// Record kinds, the byte at [`Header::kind`].
pub mod kind {
    /// A port was acquired: [`HoldRecord`](super::HoldRecord).
    pub const ACQUIRED: u8 = 1;
    /// A held socket got another destination or state: [`HoldRecord`](super::HoldRecord).
    pub const UPDATED: u8 = 2;
    /// An allocation found no port: [`HoldRecord`](super::HoldRecord), port 0.
    pub const FAILED: u8 = 3;
    /// A held socket changed state: [`ShortRecord`](super::ShortRecord).
    pub const STATE: u8 = 4;
    /// A port was released: [`ShortRecord`](super::ShortRecord).
    pub const RELEASED: u8 = 5;
    /// A port's number became known: [`ShortRecord`](super::ShortRecord).
    pub const LEARNT: u8 = 6;
    /// A TIME_WAIT began or was re-armed: [`ShortRecord`](super::ShortRecord).
    pub const TIME_WAIT_BEGAN: u8 = 7;
    /// A TIME_WAIT's timer was cancelled: [`ShortRecord`](super::ShortRecord).
    pub const TIME_WAIT_ENDED: u8 = 8;
    /// An owner's name: [`ProcessRecord`](super::ProcessRecord).
    pub const PROCESS: u8 = 9;
    /// A process was forked: [`ForkRecord`](super::ForkRecord).
    pub const FORKED: u8 = 10;
    /// An owner ended: [`ForkRecord`](super::ForkRecord), `parent` unused.
    pub const EXITED: u8 = 11;
    /// A socket without a hold ended during the snapshot: [`ShortRecord`](super::ShortRecord).
    pub const ENDED_UNTRACKED: u8 = 12;
    /// Few UDP ports are left in a namespace: [`ShortRecord`](super::ShortRecord), the namespace in
    /// place of the cookie.
    pub const POOL_LOW: u8 = 14;
    /// A call site is seen for the first time: [`SiteRecord`](super::SiteRecord), its number in
    /// place of the cookie.
    pub const SITE: u8 = 13;
}

/// Transport protocols, the kernel's numbers (`include/uapi/linux/in.h`).
pub mod protocol {
    /// `IPPROTO_TCP`.
    pub const TCP: u8 = 6;
    /// `IPPROTO_UDP`.
    pub const UDP: u8 = 17;
}

/// Error numbers of allocations that found no port (`include/uapi/asm-generic/errno*.h`).
pub mod errno {
    /// UDP `connect()` and `sendto()` report this.
    pub const EAGAIN: u8 = 11;
    /// `bind()` and `listen()` report this.
    pub const EADDRINUSE: u8 = 98;
    /// TCP `connect()` reports this.
    pub const EADDRNOTAVAIL: u8 = 99;
}

/// Socket states on the wire; the kernel's numbers (`include/net/tcp_states.h`) where it has one.
pub mod state {
    /// `TCP_ESTABLISHED`; a UDP socket with a default destination.
    pub const CONNECTED: u8 = 1;
    /// `TCP_SYN_SENT`.
    pub const SYN_SENT: u8 = 2;
    /// `TCP_FIN_WAIT1`; stands for every state on the way out.
    pub const CLOSING: u8 = 4;
    /// `TCP_CLOSE`: bound, or about to be.
    pub const BOUND: u8 = 7;
    /// `TCP_CLOSE_WAIT`.
    pub const CLOSE_WAIT: u8 = 8;
    /// `TCP_LISTEN`.
    pub const LISTEN: u8 = 10;
}

/// Bits of [`Hold::flags`].
pub mod flag {
    /// Held before the probes were attached; entered by user space.
    pub const PRE_EXISTING: u8 = 1;
    /// The kernel is about to choose the port: its number comes later, or never.
    pub const UNCONFIRMED: u8 = 2;
    /// Not a hold: the socket ended while the snapshot was being taken, do not enter it.
    pub const TOMBSTONE: u8 = 4;
    /// The owner belongs to the tree of `portleak run`'s command.
    pub const DESCENDANT: u8 = 8;
}

/// Bits of [`OwnerTotals::flags`].
pub mod owner_flag {
    /// The process belongs to the tree of `portleak run`'s command.
    pub const DESCENDANT: u64 = 1;
    /// Its last thread has ended. It acquires nothing more; what it holds may live on.
    pub const ENDED: u64 = 2;
}

/// Who owns a hold: a process, or the kernel (pid 0, namespace set), or nobody (all zero).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct OwnerKey {
    /// Start of the process in clock ticks (1/100 s) since boot, as in `/proc/PID/stat`.
    pub started_ticks: u64,
    /// Thread group id; 0 for the kernel and for nobody.
    pub pid: u32,
    /// For the kernel's own sockets their network namespace, else 0.
    pub system_netns: u32,
}

/// One hold: the value of the `HOLDS` map (keyed by socket cookie) and the body of [`HoldRecord`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hold {
    /// When the port was acquired, `CLOCK_BOOTTIME` nanoseconds.
    pub acquired_ns: u64,
    /// By whom.
    pub owner: OwnerKey,
    /// Local address as it lies in memory (see [`address_bytes`]); IPv4 in the first four bytes.
    pub local: [u64; 2],
    /// Remote address likewise, all zero when there is none.
    pub remote: [u64; 2],
    /// Number of the call site that acquired it; 0 when no stack was taken.
    pub site: u64,
    /// Network namespace inode.
    pub netns: u32,
    /// Local port, host byte order; 0 while not known.
    pub port: u16,
    /// Remote port, host byte order; 0 when there is no destination.
    pub remote_port: u16,
    /// `ip_local_port_range` of the namespace at that instant: lowest port.
    pub range_low: u16,
    /// And highest.
    pub range_high: u16,
    /// See [`protocol`].
    pub protocol: u8,
    /// 4 or 6.
    pub family: u8,
    /// See [`flag`].
    pub flags: u8,
    /// See [`state`].
    pub state: u8,
}

/// One open descriptor of a TCP or UDP socket (or of another of the same address families), as the
/// kernel lists them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketFile {
    /// Start of the process, clock ticks (1/100 s) since boot.
    pub started_ticks: u64,
    /// The process.
    pub pid: u32,
    /// The socket's inode number.
    pub inode: u32,
}

/// The bytes of 16 that cross the wire as two words, which is how a probe can copy them cheaply.
#[must_use]
pub const fn address_bytes(words: [u64; 2]) -> [u8; 16] {
    let (a, b) = (words[0].to_ne_bytes(), words[1].to_ne_bytes());
    [a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]
}

/// The words of 16 bytes; the inverse of [`address_bytes`].
#[must_use]
pub const fn address_words(bytes: [u8; 16]) -> [u64; 2] {
    let b = bytes;
    [
        u64::from_ne_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]),
        u64::from_ne_bytes([b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]]),
    ]
}

/// How many ports an owner acquired and released, and who it was: the value of the `OWNERS` map. Right
/// even when records are lost.
///
/// Name, user and parent are those of its first acquisition. They are zero for the kernel, and for an
/// owner that user space entered.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnerTotals {
    /// TCP ports acquired.
    pub tcp_acquired: u64,
    /// TCP ports released.
    pub tcp_released: u64,
    /// UDP ports acquired.
    pub udp_acquired: u64,
    /// UDP ports released.
    pub udp_released: u64,
    /// See [`owner_flag`].
    pub flags: u64,
    /// Network namespace inode of its first hold.
    pub netns: u32,
    /// Parent's thread group id.
    pub ppid: u32,
    /// Command name as it lies in memory, padded with NUL.
    pub comm: [u64; 2],
    /// Real user id.
    pub uid: u32,
    /// Nonzero when a later hold was of another network namespace.
    pub several_netns: u32,
}

/// The start of every record.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// `CLOCK_BOOTTIME` nanoseconds.
    pub at_ns: u64,
    /// The socket's cookie; 0 in records about processes.
    pub cookie: u64,
    /// See [`kind`].
    pub kind: u8,
    /// For [`kind::STATE`] the new state; for [`kind::FAILED`] the errno; for [`kind::PROCESS`] and
    /// [`kind::FORKED`] [`DESCENDANT`] if the process, or the child, belongs to the tree of `run`'s
    /// command.
    pub code: u8,
    /// For [`kind::LEARNT`], and for [`kind::STATE`] if it was not known before, the local port;
    /// else 0.
    pub port: u16,
    /// Zero.
    pub reserved: u32,
}

/// The value of [`Header::code`] in a record about a descendant of `run`'s command.
pub const DESCENDANT: u8 = 1;

/// A record that is all header.
pub type ShortRecord = Header;

/// A record about a hold.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HoldRecord {
    /// Its header.
    pub header: Header,
    /// The hold.
    pub hold: Hold,
}

/// How much of a command line is carried.
pub const CMDLINE_MAX: usize = 256;

/// A record that names an owner.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessRecord {
    /// Its header.
    pub header: Header,
    /// Which process.
    pub owner: OwnerKey,
    /// Parent's thread group id.
    pub ppid: u32,
    /// Real user id.
    pub uid: u32,
    /// Network namespace inode that the process runs in.
    pub netns: u32,
    /// How many bytes of `cmdline` are set.
    pub cmdline_bytes: u32,
    /// Command name as it lies in memory, padded with NUL.
    pub comm: [u64; 2],
    /// Command line, arguments separated by NUL; past `cmdline_bytes` the bytes mean nothing.
    pub cmdline: [u8; CMDLINE_MAX],
}

/// A record about a process's birth or death.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ForkRecord {
    /// Its header.
    pub header: Header,
    /// The parent.
    pub parent: OwnerKey,
    /// The child; for [`kind::EXITED`] the process that ended.
    pub child: OwnerKey,
}

/// How many frames of a stack are carried.
pub const FRAMES_MAX: usize = 32;

/// A record that shows a call site.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SiteRecord {
    /// Its header.
    pub header: Header,
    /// Whose stack it is; the kernel's own for the kernel.
    pub owner: OwnerKey,
    /// How many of `frames` are set.
    pub count: u32,
    /// Zero.
    pub reserved: u32,
    /// Return addresses, innermost first; past `count` they mean nothing.
    pub frames: [u64; FRAMES_MAX],
}

/// Of whose acquisitions the stack is taken: the values of the `STACKS` global.
pub mod stacks {
    /// Of nobody's.
    pub const NONE: u32 = 0;
    /// Of the kernel's own, which names the module.
    pub const KERNEL: u32 = 1;
    /// Of everybody's.
    pub const ALL: u32 = 2;
}

/// Indexes into the per-CPU `COUNTERS` map.
pub mod counter {
    /// Records that found the ring buffer full.
    pub const LOST: u32 = 0;
    /// Holds that found no room in the `HOLDS` map: acquired and reported, but not tracked.
    pub const HOLDS_FULL: u32 = 1;
    /// Owners that found no room in the `OWNERS` map: their totals are not kept.
    pub const OWNERS_FULL: u32 = 2;
    /// Processes that found the `TREE` map full: they and their descendants are taken for strangers.
    pub const TREE_FULL: u32 = 3;
    /// How many there are.
    pub const COUNT: u32 = 4;
}

/// Indexes into the `CONTROL` map.
pub mod control {
    /// Nonzero while the start-up snapshot is being taken.
    pub const SNAPSHOT: u32 = 0;
    /// Nonzero from [`kind::POOL_LOW`](super::kind::POOL_LOW) on, until user space resets it.
    pub const POOL_LOW: u32 = 1;
    /// Nonzero when function probes show which binds find no port; other pending binds failed for
    /// another reason.
    pub const BINDS_SEEN: u32 = 2;
    /// The lower half of the cookie of the socket with which function probes are tested.
    pub const SELF_TEST: u32 = 3;
    /// The thread whose next children are roots of `run`'s process tree, by its id in portleak's own
    /// pid namespace; 0 for none.
    pub const ROOT_PARENT: u32 = 4;
    /// How many there are.
    pub const COUNT: u32 = 5;
}

/// Indexes into the `RUNS` map: the function probes.
pub mod function {
    /// `udp_lib_get_port`.
    pub const UDP_LIB_GET_PORT: u32 = 0;
    /// `inet_csk_get_port`.
    pub const INET_CSK_GET_PORT: u32 = 1;
    /// `udp_lib_unhash`.
    pub const UDP_LIB_UNHASH: u32 = 2;
    /// `__udp_disconnect`.
    pub const UDP_DISCONNECT: u32 = 3;
    /// How many there are.
    pub const COUNT: u32 = 4;
}

/// A UDP pool of `usable` ports is low from this many held ones on: few enough are left to be taken
/// within the hundredths of a second that user space needs to act.
#[must_use]
pub const fn pool_low_from(usable: u64) -> u64 {
    const LEFT: u64 = 8_192;
    let half = usable / 2;
    usable - if half < LEFT { half } else { LEFT }
}

/// One element of the map `SENDERS` for every port number.
pub const SENDERS_LEN: u32 = 1 << 16;

#[cfg(target_os = "linux")]
mod pod {
    // SAFETY: all of them are repr(C), Copy and 'static, hold integers only and have no padding
    // (the asserts below add up), so every byte pattern is a value.
    unsafe impl aya::Pod for super::OwnerKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Hold {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::OwnerTotals {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Header {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::HoldRecord {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::ProcessRecord {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::ForkRecord {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::SiteRecord {}
}

// Both sides are compiled apart; this is where a change of layout shows.
const _: () = {
    assert!(size_of::<OwnerKey>() == 16);
    assert!(size_of::<Hold>() == 80);
    assert!(offset_of!(Hold, netns) == 64 && offset_of!(Hold, protocol) == 76);
    assert!(size_of::<SocketFile>() == 16);
    assert!(size_of::<OwnerTotals>() == 72);
    assert!(size_of::<Header>() == 24);
    assert!(size_of::<HoldRecord>() == 104);
    assert!(size_of::<ProcessRecord>() == 328);
    assert!(size_of::<ForkRecord>() == 56);
    assert!(size_of::<SiteRecord>() == 304);
};
