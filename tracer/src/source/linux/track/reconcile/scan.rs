//! One look at the sockets of some namespaces, and at who holds them.

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

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// When it began: what was acquired later may be missing in it.
    pub(super) began_ns: u64,
    /// How long it took.
    pub(super) took_ns: u64,
    /// The inode numbers of all sockets, by cookie; without TIME_WAITs.
    pub(super) inodes: FxHashMap<u64, u32>,
    /// Sockets that look like holds.
    pub(super) ephemeral: Vec<(u64, Hold)>,
    /// Namespaces of which all is listed.
    pub(super) complete: FxHashSet<NetNs>,
    /// Who holds which inode. Asked first: a holder seen may have passed its socket on since, but
    /// one that is not seen did not have it.
    pub(super) holders: Holders,
    /// Whether all processes were asked.
    pub(super) everyone: bool,
}

/// Looks into some namespaces and at the descriptors of some processes, or of all; and at what those
/// with `rings` may keep there.
pub(super) fn scan(
    netns: &FxHashSet<NetNs>,
    descriptors: &Descriptors,
    among: Option<BTreeSet<u32>>,
    rings: &BTreeSet<u32>,
) -> Seen {
    let mut seen = Seen { began_ns: clock::boot_ns(), everyone: among.is_none(), ..Seen::default() };
    seen.holders = descriptors.holders(among);
    seen.holders.add_rings(rings);
    for namespace in netns::all().into_iter().filter(|namespace| netns.contains(&namespace.id)) {
        // One that cannot be looked into is not complete, and nothing is concluded for it.
        if let Ok((view, reserved, interrupted)) = view(&namespace) {
            seen.enter(&view, &reserved, interrupted);
        }
    }
    seen.took_ns = clock::boot_ns() - seen.began_ns;
    seen
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

impl Seen {
    fn enter(&mut self, view: &View, reserved: &[RangeInclusive<u16>], interrupted: bool) {
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
