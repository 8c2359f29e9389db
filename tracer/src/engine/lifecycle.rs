//! The life of a hold: acquired, given a port, changed, released.

use super::holds::Hold;
use super::owners::Change;
use super::pools::is_per_destination;
use super::series_key::Membership;
use super::{Engine, SECOND_NS};
use crate::event::{Acquired, HoldId, SocketState};
use std::net::SocketAddr;

impl Engine {
    pub(super) fn acquire(&mut self, at_ns: u64, acquired: &Acquired) {
        if !self.config.scope.takes(acquired.pool) {
            return;
        }
        if let Some(hold) = self.holds.get_mut(&acquired.hold) {
            hold.confirmed = self.resync; // Known: repeated after a loss, or late.
            return;
        }
        let owner = self.enter_owner(&acquired.owner);
        if self.holds.len() >= self.limits.holds {
            let change = Change::untracked(acquired.pre_existing);
            self.owners.charge(owner, acquired.pool.protocol, &change);
            self.untracked += 1;
            return;
        }
        let second = self.second(at_ns);
        let mut hold = Hold {
            acquired_ns: at_ns,
            remote: acquired.remote,
            owner,
            origin: owner,
            pool: acquired.pool,
            state_since: second,
            born: (!acquired.pre_existing).then_some(second),
            confirmed: self.resync,
            port: acquired.port,
            state: acquired.state,
            site: acquired.site,
            series: Membership::default(),
        };
        let pool = self.pools.entry(acquired.pool).or_default();
        if let Some(range) = acquired.range {
            pool.set_range(range);
        }
        pool.acquire();
        if let Some(port) = hold.port {
            pool.occupy_port(port);
        }
        if let (true, Some(remote)) = (is_per_destination(hold.pool.protocol), hold.remote) {
            pool.towards(remote, 1);
        }
        let program = self.owners.program_of(owner).filter(|_| self.is_in_scope(owner));
        if let Some(owner) = self.owners.get_mut(owner) {
            owner.ended = false;
        }
        let change = Change::acquire(acquired.pre_existing, hold.state);
        self.owners.charge(owner, hold.pool.protocol, &change);
        acquired.site.into_iter().for_each(|site| self.sites.touch(site));
        self.acquired += u64::from(!acquired.pre_existing);
        self.series.acquire(&mut hold, program);
        self.holds.insert(acquired.hold, hold);
        if let Some(ended_ns) = self.early_releases.take(acquired.hold, at_ns) {
            self.release(acquired.hold, ended_ns);
        }
    }

    /// Only a port that the kernel chooses for a connect or a listen is known only after it was acquired.
    pub(super) fn set_port(&mut self, at_ns: u64, id: HoldId, port: u16) {
        if let Some(hold) = self.holds.get_mut(&id)
            && hold.port.is_none()
        {
            hold.port = Some(port);
            let hold = *hold;
            self.pools.entry(hold.pool).or_default().occupy_port(port);
            self.check_half_used(at_ns, &hold, port);
        }
    }

    pub(super) fn change(&mut self, at_ns: u64, id: HoldId, state: SocketState, remote: Option<SocketAddr>) {
        let now = self.second(at_ns);
        let Some(hold) = self.holds.get_mut(&id) else {
            return;
        };
        let before = *hold;
        hold.state = state;
        hold.state_since = now;
        // Going back to bound ends a connection; any other change without a destination keeps it.
        if remote.is_some() || state == SocketState::Bound {
            hold.remote = remote;
        }
        self.series.change(&before, hold);
        let after = *hold;
        let change = Change::state(before.state, after.state);
        self.owners.charge(after.owner, after.pool.protocol, &change);
        if before.remote != after.remote && is_per_destination(after.pool.protocol) {
            let pool = self.pools.entry(after.pool).or_default();
            before.remote.into_iter().for_each(|remote| pool.towards(remote, -1));
            after.remote.into_iter().for_each(|remote| pool.towards(remote, 1));
        }
    }

    pub(super) fn release(&mut self, id: HoldId, at_ns: u64) {
        if let Some(hold) = self.vacate(id) {
            let lifetime_ns = at_ns.saturating_sub(hold.acquired_ns);
            self.series.release(&hold, lifetime_ns as f64 / SECOND_NS as f64);
            self.owners.charge(hold.owner, hold.pool.protocol, &Change::release(hold.state));
            if hold.born.is_some()
                && let Some(owner) = self.owners.charged(hold.owner)
                && let Some(owner) = self.owners.get_mut(owner)
            {
                owner.lifetimes.record(lifetime_ns);
            }
        }
    }

    /// Removes a hold from the tables; the caller counts its end.
    pub(super) fn vacate(&mut self, id: HoldId) -> Option<Hold> {
        let hold = self.holds.remove(&id)?;
        let pool = self.pools.entry(hold.pool).or_default();
        pool.release();
        hold.port.into_iter().for_each(|port| pool.free_port(port));
        if is_per_destination(hold.pool.protocol) {
            hold.remote.into_iter().for_each(|remote| pool.towards(remote, -1));
        }
        Some(hold)
    }

    pub(super) fn end_resync(&mut self, at_ns: u64) {
        let Some(began_ns) = self.resync_began_ns.take() else {
            return;
        };
        let gone = |hold: &Hold| hold.confirmed != self.resync && hold.acquired_ns < began_ns;
        let gone: Vec<_> = self.holds.iter().filter(|(_, hold)| gone(hold)).map(|(&id, _)| id).collect();
        for id in gone {
            self.release(id, at_ns);
        }
    }
}
