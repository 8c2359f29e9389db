//! What a scan says of the ledger.

use super::{Reconcile, ScanResult, Suspects};
use crate::event::{Acquired, EventKind, HoldId, NetNs};
use crate::source::linux::bpf::wire;
use crate::source::linux::track::Context;
use portleak_ebpf::{Hold, OwnerKey, flag, protocol, state};
use rustc_hash::FxHashSet;

/// A scan that is compared with the ledger.
pub(super) struct Comparison<'a> {
    reconcile: &'a mut Reconcile,
    found: &'a ScanResult,
    /// What the scan before made suspicious.
    before: Suspects,
    corrections: u64,
}

impl<'a> Comparison<'a> {
    pub(super) fn new(reconcile: &'a mut Reconcile, found: &'a ScanResult, before: Suspects) -> Self {
        Self { reconcile, found, before, corrections: 0 }
    }

    /// Compares everything. `released` are the holds that ended since the scan began.
    pub(super) fn run(mut self, released: &FxHashSet<u64>, leaves_tombstones: bool, cx: &mut Context<'_>) {
        let Some(holds) = cx.ledger.holds() else {
            return;
        };
        let owner_pid = |(cookie, hold): &(u64, Hold)| cx.ledger.owner_of(*cookie, hold).pid;
        self.reconcile.netns = holds.iter().map(|(_, hold)| NetNs(hold.netns)).collect();
        self.reconcile.pids = holds.iter().map(owner_pid).collect();
        let mut known = FxHashSet::default();
        for (cookie, hold) in &holds {
            known.insert(*cookie);
            self.check_hold(*cookie, hold, cx);
        }
        let is_hold = |cookie: &u64| known.contains(cookie) || released.contains(cookie);
        for (cookie, hold) in self.found.ephemeral.iter().filter(|(cookie, _)| !is_hold(cookie)) {
            if !self.reconcile.listeners.may_be_accepted(hold) {
                let confirmed = self.before.unknown.contains(cookie) && leaves_tombstones;
                self.add_missed(*cookie, hold, confirmed, cx);
            }
        }
        if self.corrections > 0 {
            cx.emit(EventKind::Corrected { count: self.corrections });
        }
    }

    fn check_hold(&mut self, cookie: u64, hold: &Hold, cx: &mut Context<'_>) {
        self.reconcile.listeners.holds(hold);
        if hold.acquired_ns >= self.found.began_ns {
            return;
        }
        if self.found.inodes.contains_key(&cookie) {
            self.check_owner(cookie, hold, cx);
        } else if is_listed(hold) && self.found.complete.contains(&NetNs(hold.netns)) {
            self.release_unlisted(cookie, hold, cx);
        }
    }

    /// A hold is not listed.
    fn release_unlisted(&mut self, cookie: u64, hold: &Hold, cx: &mut Context<'_>) {
        if !self.before.missing.contains(&cookie) {
            self.reconcile.suspects.missing.insert(cookie);
        } else if cx.ledger.release(cookie, hold) {
            self.correct(EventKind::Released { hold: HoldId(cookie) }, cx);
        }
    }

    /// A listed socket is no hold.
    fn add_missed(&mut self, cookie: u64, hold: &Hold, confirmed: bool, cx: &mut Context<'_>) {
        if !confirmed {
            self.reconcile.suspects.unknown.insert(cookie);
        } else if cx.ledger.adopt(cookie, hold)
            && let Ok(acquired) = wire::acquired(HoldId(cookie), hold, 0)
        {
            cx.introduce(&hold.owner);
            self.correct(EventKind::Acquired(Acquired { range: None, ..acquired }), cx);
        }
    }

    fn correct(&mut self, kind: EventKind, cx: &mut Context<'_>) {
        self.corrections += 1;
        cx.emit(kind);
    }

    /// Whether the owner of a listed hold can use it; who else can, if it cannot.
    pub(super) fn check_owner(&mut self, cookie: u64, hold: &Hold, cx: &mut Context<'_>) {
        let owner = cx.ledger.owner_of(cookie, hold);
        // An orphan (inode 0) stays with its last owner, and the kernel's sockets with the kernel.
        let inode = self.found.inodes.get(&cookie).copied().filter(|inode| *inode != 0);
        let (Some(inode), 0, true) = (inode, owner.system_netns, self.reconcile.sees_holders) else {
            return;
        };
        if hold.flags & flag::UNCONFIRMED != 0 {
            return; // It may yet turn out never to have been.
        }
        if self.found.holders.has(wire::process(&owner), inode) {
            return;
        }
        if !self.found.everyone {
            self.reconcile.suspects.strays.insert(cookie);
            return;
        }
        match self.found.holders.first(inode) {
            Some(holder) => transfer(cookie, hold, wire::owner_key(holder), cx),
            None if owner == OwnerKey::default() => {}
            None if self.before.unheld.contains(&cookie) => transfer(cookie, hold, OwnerKey::default(), cx),
            None => _ = self.reconcile.suspects.unheld.insert(cookie),
        }
    }
}

fn transfer(cookie: u64, hold: &Hold, to: OwnerKey, cx: &mut Context<'_>) {
    if cx.ledger.move_to(cookie, hold, to) {
        cx.introduce(&to);
    }
    cx.emit(EventKind::Moved { hold: HoldId(cookie), owner: wire::owner(&to) });
}

/// Whether the kernel would list it for certain. Not: TCP sockets that are bound and nothing else
/// (before 6.8), a port that may not exist yet, and the kernel's UDP ports, which are looked up
/// apart.
fn is_listed(hold: &Hold) -> bool {
    let bound_only = hold.protocol == protocol::TCP && hold.state == state::BOUND;
    let of_kernel = hold.protocol == protocol::UDP && hold.owner.system_netns != 0;
    hold.flags & flag::UNCONFIRMED == 0 && !bound_only && !of_kernel
}
