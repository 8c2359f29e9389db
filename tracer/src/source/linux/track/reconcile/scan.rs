//! One scan of the sockets of some namespaces, and of who holds them.

use crate::event::{NetNs, Protocol};
use crate::source::SourceError;
use crate::source::linux::kernel::netns::{self, Namespace};
use crate::source::linux::kernel::{clock, sock_diag};
use crate::source::linux::procfs::descriptors::{Descriptors, Holders};
use crate::source::linux::snapshot::{self, View};
use portleak_ebpf::Hold;
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::BTreeSet;
use std::ops::RangeInclusive;

/// What to scan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanRequest {
    /// The namespaces whose sockets are listed.
    pub netns: FxHashSet<NetNs>,
    /// The processes whose descriptors are read; `None` for all.
    pub among: Option<BTreeSet<u32>>,
    /// Those that may keep sockets in io_uring's tables.
    pub rings: BTreeSet<u32>,
}

/// What a scan found.
#[derive(Debug, Default)]
pub struct ScanResult {
    /// When it began: what was acquired later may be missing in it.
    pub began_ns: u64,
    /// How long it took.
    pub took_ns: u64,
    /// The inode numbers of all sockets, by cookie; without TIME_WAITs.
    pub inodes: FxHashMap<u64, u32>,
    /// Sockets that look like holds.
    pub ephemeral: Vec<(u64, Hold)>,
    /// Namespaces of which all is listed.
    pub complete: FxHashSet<NetNs>,
    /// Who holds which inode. Asked first: a holder seen may have passed its socket on since, but
    /// one that is not seen did not have it.
    pub holders: Holders,
    /// Whether all processes were asked.
    pub everyone: bool,
}

/// Lists the sockets of some namespaces and the descriptors of some processes, or of all.
#[must_use]
pub fn scan(request: &ScanRequest, descriptors: &Descriptors) -> ScanResult {
    let ScanRequest { netns, among, rings } = request;
    let mut result =
        ScanResult { began_ns: clock::boot_ns(), everyone: among.is_none(), ..ScanResult::default() };
    result.holders = descriptors.holders(among.as_ref());
    result.holders.add_rings(rings);
    for namespace in netns::all().into_iter().filter(|namespace| netns.contains(&namespace.id)) {
        // One that cannot be entered is not complete, and nothing is concluded for it.
        if let Ok((view, reserved, interrupted)) = view(&namespace) {
            result.add(&view, &reserved, interrupted);
        }
    }
    result.took_ns = clock::boot_ns() - result.began_ns;
    result
}

type Reserved = Vec<RangeInclusive<u16>>;

fn view(namespace: &Namespace) -> Result<(View, Reserved, bool), SourceError> {
    netns::within(namespace, || {
        let (range, reserved) = (netns::port_range()?, netns::reserved_ports()?);
        let dump = sock_diag::dump(&[Protocol::Tcp, Protocol::Udp])?;
        let view = View { id: namespace.id, range, rows: dump.rows, looked_ns: clock::boot_ns() };
        Ok((view, reserved, dump.interrupted))
    })?
}

impl ScanResult {
    fn add(&mut self, view: &View, reserved: &[RangeInclusive<u16>], interrupted: bool) {
        let sockets = view.rows.iter().filter(|row| row.time_wait_ms.is_none());
        self.inodes.extend(sockets.map(|row| (row.cookie, row.inode)));
        if interrupted {
            return;
        }
        self.complete.insert(view.id);
        let is_free = |(_, hold): &(u64, Hold)| !reserved.iter().any(|ports| ports.contains(&hold.port));
        let holds = snapshot::holds(view, &self.holders);
        self.ephemeral.extend(holds.into_iter().filter(is_free));
    }
}
