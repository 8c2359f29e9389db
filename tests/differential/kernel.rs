//! What the kernel says is held: its list of sockets, and whose descriptors refer to them.

use portleak::event::{Acquired, NetNs, Protocol, SocketState};
use portleak::source::linux::kernel::features;
use portleak::source::linux::kernel::netns::{self, Namespace};
use portleak::source::linux::kernel::sock_diag::{self, SocketRow};
use std::collections::{HashMap, HashSet};
use std::fs;

/// `TCP_LISTEN`.
const LISTEN: u8 = 10;

/// One namespace's sockets on ports of its range.
pub(crate) struct Kernel {
    pub(crate) netns: NetNs,
    /// Before the namespace was made.
    pub(crate) began_ns: u64,
    pub(crate) rows: HashMap<u64, SocketRow>,
    /// Cookies.
    pub(crate) time_waits: HashSet<u64>,
    /// Which process has the socket with this inode.
    pub(crate) owners: HashMap<u32, u32>,
    listening: HashSet<u16>,
    /// Whether the list lacks TCP sockets that are bound and nothing else.
    lacks_bound: bool,
}

/// Asks for everything in the namespace, and for these processes' descriptors.
pub(crate) fn look(namespace: &Namespace, began_ns: u64, pids: &[u32]) -> Kernel {
    let (range, dump) = netns::within(namespace, || {
        let dump = sock_diag::dump(&[Protocol::Tcp, Protocol::Udp]).expect("the list of sockets");
        (netns::port_range().expect("the range"), dump)
    })
    .expect("the namespace can be entered");
    let in_range = |row: &SocketRow| (range.low..=range.high).contains(&row.local_port);
    let (time_waits, rows): (Vec<_>, Vec<_>) =
        dump.rows.into_iter().filter(in_range).partition(|row| row.time_wait_ms.is_some());
    Kernel {
        netns: namespace.id,
        began_ns,
        listening: rows.iter().filter(|row| is_listener(row)).map(|row| row.local_port).collect(),
        lacks_bound: !features::lists_bound_sockets(),
        rows: rows.into_iter().map(|row| (row.cookie, row)).collect(),
        time_waits: time_waits.into_iter().map(|row| row.cookie).collect(),
        owners: pids.iter().flat_map(|pid| inodes(*pid).into_iter().map(|inode| (inode, *pid))).collect(),
    }
}

impl Kernel {
    pub(crate) fn holds(&self) -> usize {
        self.rows.len()
    }

    /// Whether the list would show the hold: before Linux 6.8 not if its socket was bound and may still
    /// be no more than that.
    pub(crate) fn shows(&self, hold: &Acquired) -> bool {
        let bound = hold.pool.protocol == Protocol::Tcp && hold.state == SocketState::Bound;
        !(self.lacks_bound && bound)
    }

    /// A connection that waits in a listener's queue: it has that port and no descriptor.
    pub(crate) fn is_queued(&self, row: &SocketRow) -> bool {
        let tcp = row.protocol == Protocol::Tcp && !is_listener(row);
        tcp && row.inode == 0 && self.listening.contains(&row.local_port)
    }
}

fn is_listener(row: &SocketRow) -> bool {
    row.protocol == Protocol::Tcp && row.state == LISTEN
}

/// The sockets that a process has descriptors of.
fn inodes(pid: u32) -> Vec<u32> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).expect("the process's descriptors");
    let targets = descriptors.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    let inode = |target: String| target.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok();
    targets.filter_map(|target| inode(target.to_string_lossy().into_owned())).collect()
}
