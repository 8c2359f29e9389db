//! What the records mean: ports held, by whom, since when, and when there were none left.
//!
//! TCP ports are bounded exactly by events 1191 to 1194 (`ports`), UDP ports by 1396 and 1397.
//! Everything else names: endpoints have owners (1001, 1391), connections have destinations (1002,
//! 1033) and states (1051), AFD has the requests that the stack's events lie in (`pending_requests`).

mod connections;
mod drivers;
mod endpoints;
mod pending_requests;
mod port_byte_order;
mod ports;
mod processes;
mod ranges;
mod refusals;
mod reordered_releases;
mod sites;
mod socket_resync;
mod sweep;
mod traffic;

pub use drivers::Drivers;
pub use port_byte_order::{PortByteOrder, Votes};
pub use ranges::DEFAULT_RANGE;

use super::decoded_event::{self, Afd, DecodedEvent, PortReference, Process, Service, Tcpip, Unreadable};
use super::etl::Header;
use super::record::Record;
use crate::event::{
    Acquired, Event, EventKind, HoldId, LossStage, NetNs, OwnerId, PoolId, PortRange, Protocol, SocketState,
};
use connections::Destination;
use drivers::UnknownAddresses;
use endpoints::Endpoints;
use pending_requests::PendingRequests;
use ports::{Held, Holders, Out, Ports, Trust};
use processes::Processes;
use ranges::Ranges;
use refusals::Datagrams;
use reordered_releases::ReorderedReleases;
use rustc_hash::FxHashMap;
use sites::Sites;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use sweep::Sweep;
use traffic::Connections;

/// The longest that Windows lets TIME_WAIT last (`TcpTimedWaitDelay`).
const TIME_WAIT_MAX_NS: u64 = 300_000_000_000;

/// What is known of a trace before its first record is told.
#[derive(Clone, Debug, Default)]
pub struct Background {
    /// In which byte order events 1191 to 1195 write ports.
    pub port_byte_order: PortByteOrder,
    /// The kernel's images.
    pub drivers: Drivers,
    /// Processes that were there: listed at the start of a trace, or at its end.
    pub processes: Vec<Process>,
    /// Services, and which processes they run in.
    pub services: Vec<Service>,
    /// Whether the stack's own events are in it: traffic is then of no use.
    pub has_tcpip: bool,
    /// The pools' ranges; a pool that is not in it has Windows' default.
    pub ranges: BTreeMap<PoolId, PortRange>,
}

/// The model.
#[derive(Debug)]
pub struct Model {
    port_byte_order: PortByteOrder,
    drivers: Drivers,
    unknown_addresses: UnknownAddresses,
    sites: Sites,
    has_tcpip: bool,
    processes: Processes,
    pending_requests: PendingRequests,
    datagrams: Datagrams,
    endpoints: Endpoints,
    reordered_releases: ReorderedReleases,
    /// Connections in TIME_WAIT that are not known.
    reordered_waits: ReorderedReleases,
    destinations: FxHashMap<u64, Destination>,
    destinations_sweep: Sweep,
    tcp: Ports,
    udp: Ports,
    traffic: Connections,
    ranges: Ranges,
    lists: socket_resync::Lists,
    next_hold: u64,
    unreadable: BTreeMap<(Unreadable, u16, u8), u64>,
}

/// A record and what happens while it is told.
struct Told<'a, 'e> {
    record: &'a Record<'a>,
    out: Out<'e>,
}

/// The pool of a protocol: Windows' compartments are not told apart, for the port events have none.
#[must_use]
pub fn pool(protocol: Protocol) -> PoolId {
    PoolId { netns: NetNs(0), protocol }
}

impl Model {
    /// A model of a machine that is known so far.
    #[must_use]
    pub fn new(header: &Header, background: &Background) -> Self {
        let mut processes = Processes::default();
        let mut untold = Vec::new();
        for process in &background.processes {
            processes.learn(0, header, process, &mut untold);
        }
        for service in &background.services {
            processes.serve(0, service, &mut untold);
        }
        Self {
            port_byte_order: background.port_byte_order,
            drivers: background.drivers.clone(),
            unknown_addresses: UnknownAddresses::default(),
            sites: Sites::default(),
            has_tcpip: background.has_tcpip,
            processes,
            pending_requests: PendingRequests::default(),
            datagrams: Datagrams::default(),
            endpoints: Endpoints::default(),
            reordered_releases: ReorderedReleases::default(),
            reordered_waits: ReorderedReleases::default(),
            destinations: FxHashMap::default(),
            destinations_sweep: Sweep::default(),
            tcp: Ports::default(),
            udp: Ports::default(),
            traffic: Connections::default(),
            ranges: Ranges::new(header, &background.ranges),
            lists: socket_resync::Lists::default(),
            next_hold: 1,
            unreadable: BTreeMap::new(),
        }
    }

    /// The byte order of ports in events 1191 to 1195 has been found out.
    pub fn set_port_byte_order(&mut self, order: PortByteOrder) {
        self.port_byte_order = order;
    }

    /// The kernel's images have been listed again.
    pub fn set_drivers(&mut self, drivers: Drivers) {
        self.drivers = drivers;
        self.sites.retell();
    }

    /// Whether a stack had an address of the kernel in no image that is known, since this was last
    /// asked: then a driver may have been loaded. Says so once of each address.
    pub fn take_unknown_addresses(&mut self) -> bool {
        self.unknown_addresses.take()
    }

    /// The driver that a record's stack comes from.
    fn module_of(&mut self, record: &Record<'_>) -> Option<Arc<str>> {
        self.unknown_addresses.meet(self.drivers.unknown_addresses(record.stack()));
        self.drivers.of_stack(record.stack())
    }

    /// The ranges have been asked for again.
    pub fn set_ranges(&mut self, at_ns: u64, ranges: &BTreeMap<PoolId, PortRange>, events: &mut Vec<Event>) {
        self.ranges.set(ranges, &mut Out { at_ns, events });
    }

    /// The services have been listed again.
    pub fn set_services(&mut self, at_ns: u64, services: &[Service], events: &mut Vec<Event>) {
        self.processes.serve_all(at_ns, services, events);
    }

    /// What could not be read so far: why, which event, which version, and how often.
    #[must_use]
    pub fn unreadable(&self) -> &BTreeMap<(Unreadable, u16, u8), u64> {
        &self.unreadable
    }

    /// Appends what follows from a record to `events`.
    pub fn tell(&mut self, header: &Header, at_ns: u64, record: &Record<'_>, events: &mut Vec<Event>) {
        let fact = match decoded_event::decode(record) {
            None => return,
            Some(Err(why)) => {
                *self.unreadable.entry((why, record.id, record.version)).or_default() += 1;
                let kind = EventKind::Lost { count: 1, stage: LossStage::Decode };
                events.push(Event { at_ns, kind });
                return;
            }
            Some(Ok(fact)) => fact,
        };
        let mut told = Told { record, out: Out { at_ns, events } };
        match fact {
            DecodedEvent::Tcpip(tcpip) => self.stack(tcpip, &mut told),
            DecodedEvent::Afd(afd) => self.afd(&afd, &mut told),
            DecodedEvent::Process(process) => self.processes.learn(at_ns, header, &process, told.out.events),
            DecodedEvent::Service(service) => self.processes.serve(at_ns, &service, told.out.events),
            DecodedEvent::Image(image) => self.drivers.learn(&image),
            DecodedEvent::Traffic(traffic) if !self.has_tcpip => self.traffic(&traffic, &mut told),
            DecodedEvent::Traffic(_) => {}
            DecodedEvent::Lost { count } => told.out.push(EventKind::Lost { count, stage: LossStage::Etw }),
        }
    }

    fn ports(&self, protocol: Protocol) -> &Ports {
        match protocol {
            Protocol::Tcp => &self.tcp,
            Protocol::Udp => &self.udp,
        }
    }

    fn ports_mut(&mut self, protocol: Protocol) -> &mut Ports {
        match protocol {
            Protocol::Tcp => &mut self.tcp,
            Protocol::Udp => &mut self.udp,
        }
    }

    fn stack(&mut self, tcpip: Tcpip, told: &mut Told<'_, '_>) {
        match tcpip {
            Tcpip::Created(protocol, endpoint) => self.create(protocol, &endpoint, told),
            Tcpip::Bound(Protocol::Udp, endpoint) => self.bind_udp(&endpoint, told),
            Tcpip::Bound(Protocol::Tcp, _) => {} // 1191 has said so.
            Tcpip::BindFailed(protocol, endpoint) => self.refuse_bind(protocol, &endpoint, told),
            Tcpip::Closed(Protocol::Udp, endpoint) => self.close_udp(&endpoint, told),
            Tcpip::Closed(Protocol::Tcp, endpoint) => self.close_tcp(&endpoint, told),
            Tcpip::Connecting(connection) => self.connect(&connection, told),
            Tcpip::Connected(connection) => self.connected(&connection, told),
            Tcpip::ConnectFailed(connection) => self.fail(&connection, told),
            Tcpip::ConnectNoPort(connection) => self.refuse_connect(&connection, told),
            Tcpip::Aborted(connection) => self.claim(&connection, told),
            Tcpip::State { tcb, state } => self.change(tcb, state, told),
            Tcpip::Exists(connection, state) => self.find(&connection, state, told),
            Tcpip::Acquired(port) => self.acquire(port, told),
            Tcpip::Inherited(port) => self.inherit(port, told),
            Tcpip::Released(port) => self.release(port, told),
            Tcpip::Replaced(port) => {
                self.tcp.replace(port.original, port.acquirer, self.port_byte_order.read(port.port));
            }
            Tcpip::Shared(port) => self.share(port, told),
            Tcpip::Reserved { status: 0, transport, start, count } => {
                self.ranges.reserve(transport, start, count, &mut told.out);
            }
            Tcpip::Reserved { .. } => {}
        }
    }

    /// 1191: an endpoint has a port from now on.
    fn acquire(&mut self, fact: PortReference, told: &mut Told<'_, '_>) {
        let port = self.port_byte_order.read(fact.port);
        if self.tcp.is_held_by(fact.acquirer, port, told.out.at_ns) {
            return; // Of a dual-mode socket, once for each family.
        }
        let asked = self
            .pending_requests
            .get(told.record.tid, told.out.at_ns)
            .and_then(pending_requests::Request::local);
        let chosen = asked.is_some_and(|asked| asked.port() == 0);
        if !self.ranges.holds(Protocol::Tcp, port, chosen, &mut told.out) {
            return;
        }
        let claim = self.claim_of(fact.acquirer, told);
        self.endpoints.bind(fact.acquirer, port);
        if self.tcp.recognise(fact.acquirer, port, told.out.at_ns).is_some() {
            return;
        }
        let local = asked.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |asked| asked.ip());
        let acquired = self.hold(Protocol::Tcp, &claim.owner, SocketAddr::new(local, port));
        let acquired = Acquired { site: self.endpoints.site(fact.acquirer), ..acquired };
        let holder = Some(fact.acquirer);
        let holders = if fact.weak {
            Holders { strong: None, weak: holder }
        } else {
            Holders { strong: holder, weak: None }
        };
        self.begin(acquired, holders, claim.trust, &mut told.out);
        if self.reordered_releases.take(fact.acquirer, port, told.out.at_ns) {
            self.release(fact, told);
        }
    }

    /// A new hold of `owner`, bound to `local` and nothing else.
    fn hold(&mut self, protocol: Protocol, owner: &OwnerId, local: SocketAddr) -> Acquired {
        self.next_hold += 1;
        let pool = pool(protocol);
        Acquired {
            hold: HoldId(self.next_hold),
            owner: owner.clone(),
            pool,
            range: self.ranges.get(pool),
            pre_existing: false,
            local: local.ip(),
            port: Some(local.port()),
            remote: None,
            state: SocketState::Bound,
            site: None,
        }
    }

    /// A port is held from now on, as far as is known by these.
    fn begin(&mut self, acquired: Acquired, holders: Holders, trust: Trust, out: &mut Out<'_>) {
        let at_ns = out.at_ns;
        let ports = self.ports_mut(acquired.pool.protocol);
        if ports.has_room() {
            ports.enter(&acquired, holders, trust, at_ns);
            out.push(EventKind::Acquired(acquired));
        } else {
            out.push(EventKind::Lost { count: 1, stage: LossStage::Table });
        }
    }

    /// 1193: an endpoint or connection gave its reference back, and is done with.
    fn release(&mut self, fact: PortReference, told: &mut Told<'_, '_>) {
        let port = self.port_byte_order.read(fact.port);
        if !self.tcp.release(fact.acquirer, port, &mut told.out)
            && self.ranges.holds(Protocol::Tcp, port, false, &mut told.out)
        {
            let remote = self.destination_of(fact.acquirer);
            let goes_there = |held: &Held| remote.is_some() && held.remote == remote;
            if !self.tcp.release_unnamed(port, fact.weak, goes_there, &mut told.out) {
                self.reordered_releases.keep(fact.acquirer, port, told.out.at_ns);
            }
        }
        self.destinations.remove(&fact.acquirer);
        self.endpoints.remove(fact.acquirer);
    }

    /// 1195: ports have become so few that one with closing connections was given out again.
    fn share(&mut self, fact: PortReference, told: &mut Told<'_, '_>) {
        if self.ranges.holds(Protocol::Tcp, self.port_byte_order.read(fact.port), false, &mut told.out) {
            told.out.push(EventKind::Scarce { pool: pool(Protocol::Tcp) });
        }
    }

    fn afd(&mut self, afd: &Afd, told: &mut Told<'_, '_>) {
        self.processes.meet(afd.process, afd.pid);
        self.datagrams.meet(afd);
        let Some(tid) = told.record.tid else {
            return;
        };
        if afd.done {
            let request = self.pending_requests.leave(tid, afd);
            self.refuse_request(afd, &request, told);
        } else {
            self.pending_requests.enter(tid, afd, told.out.at_ns);
        }
    }
}
