//! Endpoints: who created them, and UDP ports, which an endpoint holds from bind to close.

use super::ports::{Claim, Held, Holders, Out, Trust};
use super::sweep::Sweep;
use super::{Context, Model};
use crate::event::{Acquired, OwnerId, Protocol, SiteId};
use crate::source::windows::decoded_event;
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// A bound against hostile traces: no machine has as many endpoints at once.
const ENDPOINTS_MAX: usize = 1 << 22;
/// An endpoint that has been unbound for so long is forgotten. If it is bound after all, the binding
/// thread's process is its owner.
const IDLE_NS: u64 = 600_000_000_000;

/// An endpoint.
#[derive(Clone, Debug)]
struct Endpoint {
    claim: Claim,
    /// Where in the kernel it was created.
    site: Option<SiteId>,
    /// When it became known.
    since_ns: u64,
    /// Its port.
    bound: Option<u16>,
}

/// The endpoints by pointer. Windows reuses the pointers.
#[derive(Clone, Debug, Default)]
pub(super) struct Endpoints(FxHashMap<u64, Endpoint>, Sweep);

impl Endpoints {
    pub(super) fn bind(&mut self, endpoint: u64, port: u16) {
        if let Some(endpoint) = self.0.get_mut(&endpoint) {
            endpoint.bound = Some(port);
        }
    }

    pub(super) fn remove(&mut self, endpoint: u64) {
        self.0.remove(&endpoint);
    }

    /// Where in the kernel an endpoint was created.
    pub(super) fn site(&self, endpoint: u64) -> Option<SiteId> {
        self.0.get(&endpoint).and_then(|endpoint| endpoint.site)
    }

    fn enter(&mut self, endpoint: u64, claim: Claim, site: Option<SiteId>, since_ns: u64) {
        if self.1.is_due(self.0.len()) {
            let is_full = self.0.len() >= ENDPOINTS_MAX;
            let is_young =
                |endpoint: &Endpoint| !is_full && endpoint.since_ns.saturating_add(IDLE_NS) > since_ns;
            self.0.retain(|_, endpoint| endpoint.bound.is_some() || is_young(endpoint));
            self.1.done(self.0.len());
        }
        self.0.insert(endpoint, Endpoint { claim, site, since_ns, bound: None });
    }
}

impl Model {
    /// 1001, 1013, 1391: an endpoint was created. An earlier endpoint with this pointer is gone.
    pub(super) fn create(
        &mut self,
        protocol: Protocol,
        created: &decoded_event::Endpoint,
        context: &mut Context<'_, '_>,
    ) {
        let Some(endpoint) = created.endpoint.filter(|_| created.status == 0) else {
            return;
        };
        let module = self.module_of(context.record);
        let claim = match created.pid {
            0 => self.claim_of_thread(module, context),
            pid => self.named(pid, created.start_key, Trust::Field, module, &mut context.out),
        };
        if context.record.id == 1013
            && let Some(known) = self.endpoints.0.get_mut(&endpoint)
        {
            // It completes what 1001 began, and may carry more.
            known.claim.owner = better(&known.claim.owner, claim.owner);
            return;
        }
        if let Some(known) = self.endpoints.0.get_mut(&endpoint)
            && context.out.at_ns < known.since_ns
        {
            // It arrives late: the endpoint has been used already.
            known.claim = claim.clone();
            if let Some(port) = known.bound {
                self.ports_mut(protocol).claim_of_endpoint(endpoint, port, claim, &mut context.out);
            }
            return;
        }
        let site = self.site_of(&claim.owner, context);
        self.forget(protocol, endpoint, context);
        self.endpoints.enter(endpoint, claim, site, context.out.at_ns);
    }

    /// An endpoint's pointer was reused: the release of its port was lost.
    fn forget(&mut self, protocol: Protocol, endpoint: u64, context: &mut Context<'_, '_>) {
        if let Some(port) = self.endpoints.0.remove(&endpoint).and_then(|before| before.bound) {
            self.ports_mut(protocol).release(endpoint, port, &mut context.out);
        }
    }

    /// 1396: a UDP endpoint has a port from now on.
    pub(super) fn bind_udp(&mut self, bound: &decoded_event::Endpoint, context: &mut Context<'_, '_>) {
        let Some((endpoint, local)) = bound.endpoint.zip(bound.local).filter(|_| bound.status == 0) else {
            return;
        };
        let asked = self
            .pending_requests
            .get(context.record.tid, context.out.at_ns)
            .and_then(super::pending_requests::Request::local);
        let chosen = asked.is_some_and(|asked| asked.port() == 0);
        if !self.ranges.contains(Protocol::Udp, local.port(), chosen, &mut context.out) {
            return;
        }
        let claim = match bound.pid {
            0 => self.claim_of(endpoint, context),
            pid => self.named(pid, bound.start_key, Trust::Field, None, &mut context.out),
        };
        self.forget(Protocol::Udp, endpoint, context);
        let trust = claim.trust;
        let site = self.endpoints.site(endpoint).or_else(|| self.site_of(&claim.owner, context));
        let acquired = Acquired { site, ..self.hold(Protocol::Udp, &claim.owner, local) };
        self.endpoints.enter(endpoint, claim, site, context.out.at_ns);
        self.endpoints.bind(endpoint, local.port());
        if self.udp.recognise(endpoint, local.port(), context.out.at_ns).is_none() {
            let holders = Holders { strong: Some(endpoint), weak: None };
            self.begin(acquired, holders, trust, &mut context.out);
        }
        if self.reordered_releases.take(endpoint, local.port(), context.out.at_ns) {
            self.forget(Protocol::Udp, endpoint, context);
        }
    }

    /// 1397, 1398: a UDP endpoint was closed, and released its port if it had one.
    pub(super) fn close_udp(&mut self, closed: &decoded_event::Endpoint, context: &mut Context<'_, '_>) {
        let Some(endpoint) = closed.endpoint else {
            return;
        };
        if self.endpoints.0.get(&endpoint).is_some_and(|known| known.bound.is_some()) {
            return self.forget(Protocol::Udp, endpoint, context);
        }
        self.endpoints.remove(endpoint);
        let Some(local) = closed.local else {
            return;
        };
        let is_there = |held: &Held| held.local.ip() == local.ip();
        if self.ranges.contains(Protocol::Udp, local.port(), false, &mut context.out)
            && !self.udp.release_unnamed(local.port(), false, is_there, &mut context.out)
        {
            self.reordered_releases.keep(endpoint, local.port(), context.out.at_ns);
        }
    }

    /// 1009: a TCP endpoint was closed. 1193 releases its port.
    pub(super) fn close_tcp(&mut self, closed: &decoded_event::Endpoint, context: &mut Context<'_, '_>) {
        let Some(endpoint) = closed.endpoint else {
            return;
        };
        match self.endpoints.0.get(&endpoint).map(|known| known.bound) {
            Some(Some(port)) => self.tcp.close(endpoint, port, &mut context.out),
            Some(None) => self.endpoints.remove(endpoint),
            None => {}
        }
    }

    /// The owner of an endpoint: its creator, or else the process of the thread's request.
    pub(super) fn claim_of(&mut self, endpoint: u64, context: &mut Context<'_, '_>) -> Claim {
        let module = self.module_of(context.record);
        let Some(known) = self.endpoints.0.get_mut(&endpoint) else {
            let claim = self.claim_of_thread(module, context);
            let site = self.site_of(&claim.owner, context);
            self.endpoints.enter(endpoint, claim.clone(), site, context.out.at_ns);
            return claim;
        };
        if let (OwnerId::System { module: none @ None, .. }, Some(_)) = (&mut known.claim.owner, &module) {
            *none = module;
        }
        let (claim, site) = (known.claim.clone(), known.site);
        if site.is_none()
            && let Some(site) = self.site_of(&claim.owner, context)
            && let Some(known) = self.endpoints.0.get_mut(&endpoint)
        {
            known.site = Some(site);
        }
        claim
    }

    /// The owner of the running request: by its process object, or else by the event's header.
    pub(super) fn claim_of_thread(
        &mut self,
        module: Option<Arc<str>>,
        context: &mut Context<'_, '_>,
    ) -> Claim {
        let object =
            self.pending_requests.get(context.record.tid, context.out.at_ns).map(|request| request.process);
        match object.and_then(|object| self.processes.pid_of(object)) {
            Some(pid) => self.named(pid, None, Trust::Object, module, &mut context.out),
            None => {
                let (pid, key) = (context.record.pid.unwrap_or(0), context.record.start_key());
                self.named(pid, key, Trust::Thread, module, &mut context.out)
            }
        }
    }

    /// The owner with this pid. A pid of 0 is unknown, and not reliable.
    pub(super) fn named(
        &mut self,
        pid: u32,
        start_key: Option<u64>,
        trust: Trust,
        module: Option<Arc<str>>,
        out: &mut Out<'_>,
    ) -> Claim {
        let owner = self.processes.owner(out.at_ns, pid, start_key, module, out.events);
        Claim { owner, trust: if pid == 0 { Trust::None } else { trust } }
    }
}

/// The more specific of two owners: System with its driver.
fn better(before: &OwnerId, after: OwnerId) -> OwnerId {
    match (before, &after) {
        (OwnerId::System { module: Some(_), .. }, OwnerId::System { module: None, .. })
        | (_, OwnerId::Unowned) => before.clone(),
        _ => after,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One endpoint a second; none is closed, as far as the events show.
    #[test]
    fn a_year_of_endpoints_that_were_never_closed_is_forgotten() {
        let mut endpoints = Endpoints::default();
        for second in 0..400_000_u64 {
            let claim = Claim { owner: OwnerId::Unowned, trust: Trust::None };
            endpoints.enter(second, claim, None, second * 1_000_000_000);
        }
        endpoints.bind(399_999, 50_000);
        assert!(endpoints.0.len() <= 1 << 16, "{}", endpoints.0.len());
    }
}
