//! The running kernel's struct offsets, which the probes get as read-only globals.
//!
//! No offset is compiled in: they differ between kernel versions and even between builds of one.
//! A field that only one feature needs may be missing; that feature is then off.

use crate::source::SourceError;
use crate::source::linux::bpf::btf::{BTF, Btf, BtfError};
use crate::source::linux::kernel::features::Features;
use std::fs::File;
use std::io::{self, BufRead, BufReader};

const KALLSYMS: &str = "/proc/kallsyms";

/// The value of a global whose field this kernel does not have.
pub const ABSENT: u32 = u32::MAX;

/// Fields without which nothing can be traced: the global that takes the byte offset, the path.
const REQUIRED: [(&str, &str); 27] = [
    ("OFF_SK_NUM", "sock_common.skc_num"),
    ("OFF_SK_COOKIE", "sock_common.skc_cookie"),
    ("OFF_SK_FAMILY", "sock_common.skc_family"),
    ("OFF_SK_DPORT", "sock_common.skc_dport"),
    ("OFF_SK_DADDR", "sock_common.skc_daddr"),
    ("OFF_SK_RCV_SADDR", "sock_common.skc_rcv_saddr"),
    ("OFF_SK_V6_DADDR", "sock_common.skc_v6_daddr"),
    ("OFF_SK_V6_RCV_SADDR", "sock_common.skc_v6_rcv_saddr"),
    ("OFF_INET_SPORT", "inet_sock.inet_sport"),
    ("OFF_SK_NET", "sock_common.skc_net.net"),
    ("OFF_NET_INUM", "net.ns.inum"),
    ("OFF_SK_PROTOCOL", "sock.sk_protocol"),
    ("OFF_TASK_TGID", "task_struct.tgid"),
    ("OFF_TASK_PID", "task_struct.pid"),
    ("OFF_TASK_LEADER", "task_struct.group_leader"),
    ("OFF_TASK_START", "task_struct.start_boottime"),
    ("OFF_TASK_COMM", "task_struct.comm"),
    ("OFF_TASK_PARENT", "task_struct.real_parent"),
    ("OFF_TASK_CRED", "task_struct.cred"),
    ("OFF_CRED_UID", "cred.uid"),
    ("OFF_TASK_MM", "task_struct.mm"),
    ("OFF_MM_ARG_START", "mm_struct.arg_start"),
    ("OFF_MM_ARG_END", "mm_struct.arg_end"),
    ("OFF_TASK_NSPROXY", "task_struct.nsproxy"),
    ("OFF_NSPROXY_NET", "nsproxy.net_ns"),
    ("OFF_TASK_SIGNAL", "task_struct.signal"),
    ("OFF_SIGNAL_LIVE", "signal_struct.live"),
];

/// Fields that one feature needs.
const OPTIONAL: [(&str, &str); 7] = [
    ("OFF_SK_TXHASH", "sock.sk_txhash"),
    ("OFF_NET_RESERVED", "net.ipv4.sysctl_local_reserved_ports"),
    ("OFF_TW_TIMER", "inet_timewait_sock.tw_timer"),
    ("OFF_TIMER_FUNCTION", "timer_list.function"),
    ("OFF_SOCKET_SK", "socket.sk"),
    ("OFF_FILE_INODE", "file.f_inode"),
    ("OFF_INODE_NUMBER", "inode.i_ino"),
];

/// This bit distinguishes kernel sockets from users'.
const KERN_SOCK: &str = "sock.sk_kern_sock";
/// A bitfield or a `bool` of its own, by version; missing without `CONFIG_MPTCP`.
const IS_MPTCP: &str = "tcp_sock.is_mptcp";
/// Whether a bind leaves the port to connect: a bitfield of its own, since 6.6 a bit of `inet_flags`
/// (include/net/inet_sock.h).
const NO_PORT: &str = "inet_sock.bind_address_no_port";
const INET_FLAGS: &str = "inet_sock.inet_flags";
const NO_PORT_FLAG: &str = "INET_FLAGS_BIND_ADDRESS_NO_PORT";
/// `int range[2]`; since about 6.8 one `u32`, `high << 16 | low` (`inet_get_local_port_range`).
const PORT_RANGE: &str = "net.ipv4.ip_local_ports.range";

/// The kernel's layout cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// The type information cannot be read.
    #[error("the kernel's type information {BTF} cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// The type information cannot be understood.
    #[error("the kernel's type information {BTF} is not understood: {0}")]
    Malformed(#[from] BtfError),
    /// The kernel lacks a field that nothing works without.
    #[error("this kernel's type information has no {0}")]
    Missing(&'static str),
}

impl From<LayoutError> for SourceError {
    fn from(error: LayoutError) -> Self {
        let remedy = match error {
            LayoutError::Unreadable(_) => "run as root on a kernel built with CONFIG_DEBUG_INFO_BTF=y",
            LayoutError::Malformed(_) => "use a newer portleak, or report this kernel's version",
            LayoutError::Missing(_) => "report this kernel's version; its sockets look different",
        };
        Self { what: error.to_string(), remedy: remedy.to_owned() }
    }
}

/// What the probes must know of the running kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelLayout {
    pub(super) globals: Vec<(&'static str, u32)>,
    /// Whether a bind that wants no port can be distinguished from one that found none.
    pub shows_no_port: bool,
    /// What the probes may use.
    pub features: Features,
    /// Address of the timer function that ends a TIME_WAIT (net/ipv4/inet_timewait_sock.c);
    /// `None` if the kernel hides addresses (`kptr_restrict=2`).
    pub tw_timer_handler: Option<u64>,
}

impl KernelLayout {
    /// Asks the running kernel.
    ///
    /// # Errors
    /// When its type information is unreadable or lacks a field that nothing works without.
    pub fn read() -> Result<Self, LayoutError> {
        std::thread::scope(|scope| {
            // Reading all of kallsyms takes some 50 ms, ten times as long as the rest.
            let handler = scope.spawn(tw_timer_handler);
            let btf = Btf::parse(std::fs::read(BTF)?)?;
            Self::resolve(&btf, handler.join().ok().flatten())
        })
    }

    /// Finds every field in `btf`.
    ///
    /// # Errors
    /// When a field is missing that nothing works without.
    pub fn resolve(btf: &Btf, tw_timer_handler: Option<u64>) -> Result<Self, LayoutError> {
        let required = |path| btf.field(path).ok_or(LayoutError::Missing(path));
        let mut globals = Vec::with_capacity(40);
        for (name, path) in REQUIRED {
            globals.push((name, required(path)?.byte));
        }
        for (name, path) in OPTIONAL {
            globals.push((name, btf.field(path).map_or(ABSENT, |field| field.byte)));
        }
        let kern = required(KERN_SOCK)?;
        let mptcp = btf.field(IS_MPTCP);
        let range = required(PORT_RANGE)?;
        let no_port = no_port(btf);
        globals.extend([
            ("OFF_SK_KERN", kern.byte),
            ("SK_KERN_SHIFT", kern.shift),
            ("OFF_TCP_MPTCP", mptcp.map_or(ABSENT, |field| field.byte)),
            ("TCP_MPTCP_SHIFT", mptcp.map_or(ABSENT, |field| field.shift)),
            ("OFF_SK_NO_PORT", no_port.map_or(ABSENT, |(byte, _)| byte)),
            ("SK_NO_PORT_SHIFT", no_port.map_or(ABSENT, |(_, shift)| shift)),
            ("OFF_NET_PORT_RANGE", range.byte),
            ("PORT_RANGE_PACKED", u32::from(!range.is_array)),
        ]);
        Ok(Self {
            globals,
            shows_no_port: no_port.is_some(),
            features: Features::detect(btf),
            tw_timer_handler,
        })
    }

    /// The probes' globals by name: byte offsets (`OFF_…`), bit positions within that byte
    /// (`…_SHIFT`), and whether a port range is one number (`PORT_RANGE_PACKED`).
    /// [`ABSENT`] for what this kernel does not have.
    #[must_use]
    pub fn globals(&self) -> &[(&'static str, u32)] {
        &self.globals
    }
}

/// Byte and bit within it.
fn no_port(btf: &Btf) -> Option<(u32, u32)> {
    if let Some(field) = btf.field(NO_PORT) {
        return Some((field.byte, field.shift));
    }
    let (flags, bit) = (btf.field(INET_FLAGS)?, btf.constant(NO_PORT_FLAG)?);
    Some((flags.byte + bit / 8, bit % 8))
}

fn tw_timer_handler() -> Option<u64> {
    let mut symbols = BufReader::new(File::open(KALLSYMS).ok()?);
    let mut line = Vec::with_capacity(256);
    while symbols.read_until(b'\n', &mut line).ok()? > 0 {
        if let Some(address) = symbol(&line, "tw_timer_handler") {
            return Some(address);
        }
        line.clear();
    }
    None
}

/// The address on one line of kallsyms, if it is that of `name` and not blanked.
fn symbol(line: &[u8], name: &str) -> Option<u64> {
    let mut columns = line.split(u8::is_ascii_whitespace);
    let (address, _kind, symbol) = (columns.next()?, columns.next()?, columns.next()?);
    // A kernel built with Clang's LTO appends `.llvm.HASH` to the names of static functions.
    let rest = symbol.strip_prefix(name.as_bytes())?;
    if !rest.is_empty() && !rest.starts_with(b".llvm.") {
        return None;
    }
    let address = u64::from_str_radix(str::from_utf8(address).ok()?, 16).ok()?;
    (address != 0).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn this_kernel() -> KernelLayout {
        KernelLayout::read().unwrap()
    }

    fn global(layout: &KernelLayout, name: &str) -> u32 {
        let found = layout.globals().iter().find(|(known, _)| *known == name);
        found.unwrap_or_else(|| panic!("no {name}")).1
    }

    #[test]
    fn every_global_has_its_own_name() {
        let layout = this_kernel();
        let names: std::collections::BTreeSet<_> = layout.globals().iter().map(|(name, _)| *name).collect();
        assert_eq!(names.len(), layout.globals().len());
        assert_eq!(names.len(), 42);
    }

    #[test]
    fn offsets_that_no_kernel_has_moved_yet_are_as_known() {
        let layout = this_kernel();
        let known = [
            ("OFF_SK_DADDR", 0),
            ("OFF_SK_RCV_SADDR", 4),
            ("OFF_SK_DPORT", 12),
            ("OFF_SK_NUM", 14),
            ("OFF_SK_FAMILY", 16),
            ("OFF_SK_COOKIE", 88),
        ];
        for (name, offset) in known {
            assert_eq!(global(&layout, name), offset, "{name}");
        }
    }

    #[test]
    fn the_bit_position_lies_within_its_byte() {
        let layout = this_kernel();
        assert!(global(&layout, "SK_KERN_SHIFT") < 8);
        assert!(global(&layout, "SK_NO_PORT_SHIFT") < 8);
        assert!(global(&layout, "PORT_RANGE_PACKED") <= 1);
    }

    #[test]
    fn a_missing_field_is_named() {
        let mut empty = 0xeb9f_u16.to_ne_bytes().to_vec();
        empty.extend([1, 0]);
        empty.extend([24u32, 0, 0, 0, 0].into_iter().flat_map(u32::to_ne_bytes));
        let btf = Btf::parse(empty).unwrap();
        let error = SourceError::from(KernelLayout::resolve(&btf, None).unwrap_err());
        assert!(error.what.ends_with("sock_common.skc_num"), "{}", error.what);
    }

    #[test]
    fn a_symbol_is_taken_by_its_whole_name() {
        let address = |line: &str| symbol(line.as_bytes(), "tw_timer_handler");
        assert_eq!(address("ffffffff820089f0 t tw_timer_handler\n"), Some(0xffff_ffff_8200_89f0));
        assert_eq!(address("10 t tw_timer_handler.llvm.123"), Some(16));
        assert_eq!(address("10 t tw_timer_handler\t[module]"), Some(16));
        for odd in [
            "0000000000000000 t tw_timer_handler",
            "10 t tw_timer_handler_too",
            "10 t __tw_timer_handler",
            "zz t tw_timer_handler",
            "10 t",
            "",
        ] {
            assert_eq!(address(odd), None, "{odd}");
        }
    }
}
