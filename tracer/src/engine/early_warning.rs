//! The early warning: half of the ports to a destination are used.
//!
//! Linux's `connect()` tries every second port first, those of the parity of the range's lowest, and
//! the others only when none of the former is left for its addresses (`__inet_hash_connect`,
//! net/ipv4/inet_hashtables.c). So the first port of the other parity that a connect is given shows
//! that half of them are gone, long before any fails; and from there on each connect searches in
//! vain through the first half.

use super::Engine;
use super::holds::Hold;
use super::pools::is_per_destination;
use super::report::Finding;

impl Engine {
    /// The kernel has chosen `port` for a connect: emits a finding if it begins the second half.
    pub(super) fn check_half_used(&mut self, at_ns: u64, hold: &Hold, port: u16) {
        let Some(remote) = hold.remote.filter(|_| is_per_destination(hold.pool.protocol)) else {
            return;
        };
        let Some(pool) = self.pools.get_mut(&hold.pool) else {
            return;
        };
        if !pool.begins_second_half(remote, port) {
            return;
        }
        let (used, usable) = (pool.used_towards(Some(remote)), pool.usable());
        if let Some(owner) = self.owners.get(hold.owner).filter(|_| self.is_in_scope(hold.owner)) {
            let owner = owner.named();
            self.findings.push(Finding::HalfUsed { at_ns, owner, pool: hold.pool, remote, used, usable });
        }
    }
}
