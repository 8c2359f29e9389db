//! The model: turns decoded records into holds, owners, states and failures.
//!
//! Events 1191 to 1194 bound the life of a TCP port exactly (`ports`), 1396 and 1397 that of a UDP port. All
//! other events add facts: endpoints have owners (1001, 1391), connections have destinations (1002, 1033)
//! and states (1051), and AFD's requests enclose the stack's events (`pending_requests`).

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

/// The longest TIME_WAIT that Windows allows (`TcpTimedWaitDelay`).
const TIME_WAIT_MAX_NS: u64 = 300_000_000_000;

/// What is known of a trace before its first record.
#[derive(Clone, Debug, Default)]
pub struct Background {
    /// The byte order of ports in events 1191 to 1195.
    pub port_byte_order: PortByteOrder,
    /// The kernel's images.
    pub drivers: Drivers,
    /// The processes that existed, listed at the start of a trace or at its end.
    pub processes: Vec<Process>,
    /// The services and their processes.
    pub services: Vec<Service>,
    /// The trace has the stack's own events: traffic is then ignored.
    pub has_tcpip: bool,
    /// The pools' ranges; a missing pool has Windows' default.
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
    /// TIME_WAITs of unknown connections.
    reordered_waits: ReorderedReleases,
    destinations: FxHashMap<u64, Destination>,
    destinations_sweep: Sweep,
    tcp: Ports,
    udp: Ports,
    traffic: Connections,
    ranges: Ranges,
    resync: socket_resync::Resync,
    next_hold: u64,
    unreadable: BTreeMap<(Unreadable, u16, u8), u64>,
}

/// A record, and where its events go.
struct Context<'a, 'e> {
    record: &'a Record<'a>,
    out: Out<'e>,
}

/// The pool of a protocol. Port events carry no compartment, so Windows' compartments share one pool.
#[must_use]
pub fn pool(protocol: Protocol) -> PoolId {
    PoolId { netns: NetNs(0), protocol }
}

impl Model {
    /// A model that starts with this background.
    #[must_use]
    pub fn new(header: &Header, background: &Background) -> Self {
        let mut processes = Processes::default();
        let mut unannounced = Vec::new();
        for process in &background.processes {
            processes.observe(0, header, process, &mut unannounced);
        }
        for service in &background.services {
            processes.add_service(0, service, &mut unannounced);
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
            resync: socket_resync::Resync::default(),
            next_hold: 1,
            unreadable: BTreeMap::new(),
        }
    }

    /// Sets the byte order of ports in events 1191 to 1195.
    pub fn set_port_byte_order(&mut self, order: PortByteOrder) {
        self.port_byte_order = order;
    }

    /// Replaces the kernel's images.
    pub fn set_drivers(&mut self, drivers: Drivers) {
        self.drivers = drivers;
        self.sites.reannounce();
    }

    /// Whether a stack had a new address in no known image since the last call: a driver may have been
    /// loaded. True once for each address.
    pub fn take_unknown_addresses(&mut self) -> bool {
        self.unknown_addresses.take()
    }

    /// The driver that a record's stack comes from.
    fn module_of(&mut self, record: &Record<'_>) -> Option<Arc<str>> {
        self.unknown_addresses.observe(self.drivers.unknown_addresses(record.stack()));
        self.drivers.of_stack(record.stack())
    }

    /// Sets the port ranges again.
    pub fn set_ranges(&mut self, at_ns: u64, ranges: &BTreeMap<PoolId, PortRange>, events: &mut Vec<Event>) {
        self.ranges.set(ranges, &mut Out { at_ns, events });
    }

    /// Replaces the services.
    pub fn set_services(&mut self, at_ns: u64, services: &[Service], events: &mut Vec<Event>) {
        self.processes.set_all_services(at_ns, services, events);
    }

    /// Records that could not be decoded: reason, event and version, with their count.
    #[must_use]
    pub fn unreadable(&self) -> &BTreeMap<(Unreadable, u16, u8), u64> {
        &self.unreadable
    }

    /// Applies a record, and appends the resulting events.
    pub fn apply(&mut self, header: &Header, at_ns: u64, record: &Record<'_>, events: &mut Vec<Event>) {
        let event = match decoded_event::decode(record) {
            None => return,
            Some(Err(why)) => {
                *self.unreadable.entry((why, record.id, record.version)).or_default() += 1;
                let kind = EventKind::Lost { count: 1, stage: LossStage::Decode };
                events.push(Event { at_ns, kind });
                return;
            }
            Some(Ok(event)) => event,
        };
        let mut context = Context { record, out: Out { at_ns, events } };
        match event {
            DecodedEvent::Tcpip(tcpip) => self.apply_tcpip(tcpip, &mut context),
            DecodedEvent::Afd(afd) => self.apply_afd(&afd, &mut context),
            DecodedEvent::Process(process) => {
                self.processes.observe(at_ns, header, &process, context.out.events);
            }
            DecodedEvent::Service(service) => self.processes.add_service(at_ns, &service, context.out.events),
            DecodedEvent::Image(image) => self.drivers.insert(&image),
            DecodedEvent::Traffic(traffic) if !self.has_tcpip => self.apply_traffic(&traffic, &mut context),
            DecodedEvent::Traffic(_) => {}
            DecodedEvent::Lost { count } => {
                context.out.push(EventKind::Lost { count, stage: LossStage::Etw });
            }
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

    fn apply_tcpip(&mut self, tcpip: Tcpip, context: &mut Context<'_, '_>) {
        match tcpip {
            Tcpip::Created(protocol, endpoint) => self.create(protocol, &endpoint, context),
            Tcpip::Bound(Protocol::Udp, endpoint) => self.bind_udp(&endpoint, context),
            Tcpip::Bound(Protocol::Tcp, _) => {} // 1191 has said so.
            Tcpip::BindFailed(protocol, endpoint) => self.refuse_bind(protocol, &endpoint, context),
            Tcpip::Closed(Protocol::Udp, endpoint) => self.close_udp(&endpoint, context),
            Tcpip::Closed(Protocol::Tcp, endpoint) => self.close_tcp(&endpoint, context),
            Tcpip::Connecting(connection) => self.connect(&connection, context),
            Tcpip::Connected(connection) => self.connected(&connection, context),
            Tcpip::ConnectFailed(connection) => self.fail(&connection, context),
            Tcpip::ConnectNoPort(connection) => self.refuse_connect(&connection, context),
            Tcpip::Aborted(connection) => self.claim(&connection, context),
            Tcpip::State { tcb, state } => self.change(tcb, state, context),
            Tcpip::Exists(connection, state) => self.find(&connection, state, context),
            Tcpip::Acquired(port) => self.acquire(port, context),
            Tcpip::Inherited(port) => self.inherit(port, context),
            Tcpip::Released(port) => self.release(port, context),
            Tcpip::Replaced(port) => {
                self.tcp.replace(port.original, port.acquirer, self.port_byte_order.read(port.port));
            }
            Tcpip::Shared(port) => self.share(port, context),
            Tcpip::Reserved { status: 0, transport, start, count } => {
                self.ranges.reserve(transport, start, count, &mut context.out);
            }
            Tcpip::Reserved { .. } => {}
        }
    }

    /// 1191: an endpoint acquired a port.
    fn acquire(&mut self, reference: PortReference, context: &mut Context<'_, '_>) {
        let port = self.port_byte_order.read(reference.port);
        if self.tcp.is_held_by(reference.acquirer, port, context.out.at_ns) {
            return; // Of a dual-mode socket, once for each family.
        }
        let asked = self
            .pending_requests
            .get(context.record.tid, context.out.at_ns)
            .and_then(pending_requests::Request::local);
        let chosen = asked.is_some_and(|asked| asked.port() == 0);
        if !self.ranges.contains(Protocol::Tcp, port, chosen, &mut context.out) {
            return;
        }
        let claim = self.claim_of(reference.acquirer, context);
        self.endpoints.bind(reference.acquirer, port);
        if self.tcp.recognise(reference.acquirer, port, context.out.at_ns).is_some() {
            return;
        }
        let local = asked.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |asked| asked.ip());
        let acquired = self.hold(Protocol::Tcp, &claim.owner, SocketAddr::new(local, port));
        let acquired = Acquired { site: self.endpoints.site(reference.acquirer), ..acquired };
        let holder = Some(reference.acquirer);
        let holders = if reference.weak {
            Holders { strong: None, weak: holder }
        } else {
            Holders { strong: holder, weak: None }
        };
        self.begin(acquired, holders, claim.trust, &mut context.out);
        if self.reordered_releases.take(reference.acquirer, port, context.out.at_ns) {
            self.release(reference, context);
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

    /// A port is held from now on by these holders, as far as is known.
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

    /// 1193: an endpoint or connection released its reference, and is gone.
    fn release(&mut self, reference: PortReference, context: &mut Context<'_, '_>) {
        let port = self.port_byte_order.read(reference.port);
        if !self.tcp.release(reference.acquirer, port, &mut context.out)
            && self.ranges.contains(Protocol::Tcp, port, false, &mut context.out)
        {
            let remote = self.destination_of(reference.acquirer);
            let goes_there = |held: &Held| remote.is_some() && held.remote == remote;
            if !self.tcp.release_unnamed(port, reference.weak, goes_there, &mut context.out) {
                self.reordered_releases.keep(reference.acquirer, port, context.out.at_ns);
            }
        }
        self.destinations.remove(&reference.acquirer);
        self.endpoints.remove(reference.acquirer);
    }

    /// 1195: ports are so scarce that Windows handed out one with closing connections again.
    fn share(&mut self, reference: PortReference, context: &mut Context<'_, '_>) {
        if self.ranges.contains(
            Protocol::Tcp,
            self.port_byte_order.read(reference.port),
            false,
            &mut context.out,
        ) {
            context.out.push(EventKind::Scarce { pool: pool(Protocol::Tcp) });
        }
    }

    fn apply_afd(&mut self, afd: &Afd, context: &mut Context<'_, '_>) {
        self.processes.set_object(afd.process, afd.pid);
        self.datagrams.observe(afd);
        let Some(tid) = context.record.tid else {
            return;
        };
        if afd.done {
            let request = self.pending_requests.leave(tid, afd);
            self.refuse_request(afd, &request, context);
        } else {
            self.pending_requests.enter(tid, afd, context.out.at_ns);
        }
    }
}
