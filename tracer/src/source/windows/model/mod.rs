//! What the records mean: ports held, by whom, since when, and when there were none left.
//!
//! TCP ports are bounded exactly by events 1191 to 1194 (`ports`), UDP ports by 1396 and 1397.
//! Everything else names: endpoints have owners (1001, 1391), connections have destinations (1002,
//! 1033) and states (1051), AFD has the requests that the stack's events lie in (`threads`).

mod drivers;
mod endpoints;
mod order;
mod people;
mod ports;
mod refusals;
mod threads;
mod traffic;

pub use drivers::Drivers;
pub use order::{PortOrder, Votes};

use super::etl::Header;
use super::fact::{self, Afd, Connection, Fact, PortFact, Process, Service, Tcpip, Unreadable};
use super::record::Record;
use crate::event::{
    Acquired, Event, EventKind, HoldId, LossStage, NetNs, OwnerId, PoolId, PortRange, Protocol, SocketState,
    TimeWaitFound,
};
use endpoints::Endpoints;
use people::People;
use ports::{Holder, Out, Ports, Trust};
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use threads::Threads;
use traffic::Connections;

/// The dynamic ports of every Windows since Vista, unless they were changed (`netsh int ipv4 show
/// dynamicport`).
pub const DEFAULT_RANGE: PortRange = PortRange { low: 49_152, high: 65_535, reserved: 0 };
/// The longest that Windows lets TIME_WAIT last (`TcpTimedWaitDelay`).
const TIME_WAIT_MAX_NS: u64 = 300_000_000_000;
/// More connections than a machine has at once.
const CONNECTIONS_MAX: usize = 1 << 22;

/// What is known of a trace before its first record is told.
#[derive(Clone, Debug, Default)]
pub struct Background {
    /// In which byte order events 1191 to 1195 write ports.
    pub order: PortOrder,
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

/// A connection's destination, until its port is known.
#[derive(Clone, Copy, Debug, Default)]
struct Destination {
    remote: Option<SocketAddr>,
    port: Option<u16>,
    /// The endpoint and port that it has a reference from, when that endpoint is not known.
    inherited: Option<(u64, u16)>,
}

/// The model.
#[derive(Debug)]
pub struct Model {
    order: PortOrder,
    drivers: Drivers,
    has_tcpip: bool,
    people: People,
    threads: Threads,
    endpoints: Endpoints,
    destinations: FxHashMap<u64, Destination>,
    ports: Ports,
    traffic: Connections,
    ranges: BTreeMap<PoolId, PortRange>,
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
        let mut people = People::default();
        let mut untold = Vec::new();
        for process in &background.processes {
            people.learn(0, header, process, &mut untold);
        }
        for service in &background.services {
            people.serve(0, service, &mut untold);
        }
        Self {
            order: background.order,
            drivers: background.drivers.clone(),
            has_tcpip: background.has_tcpip,
            people,
            threads: Threads::default(),
            endpoints: Endpoints::default(),
            destinations: FxHashMap::default(),
            ports: Ports::default(),
            traffic: Connections::default(),
            ranges: background.ranges.clone(),
            next_hold: 1,
            unreadable: BTreeMap::new(),
        }
    }

    /// What could not be read so far: why, which event, which version, and how often.
    #[must_use]
    pub fn unreadable(&self) -> &BTreeMap<(Unreadable, u16, u8), u64> {
        &self.unreadable
    }

    /// Appends what follows from a record to `events`.
    pub fn tell(&mut self, header: &Header, at_ns: u64, record: &Record<'_>, events: &mut Vec<Event>) {
        let fact = match fact::decode(record) {
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
            Fact::Tcpip(tcpip) => self.stack(tcpip, &mut told),
            Fact::Afd(afd) => self.afd(&afd, &mut told),
            Fact::Process(process) => self.people.learn(at_ns, header, &process, told.out.events),
            Fact::Service(service) => self.people.serve(at_ns, &service, told.out.events),
            Fact::Image(image) => self.drivers.learn(&image),
            Fact::Traffic(traffic) if !self.has_tcpip => self.traffic(&traffic, &mut told),
            Fact::Traffic(_) => {}
            Fact::Lost { count } => told.out.push(EventKind::Lost { count, stage: LossStage::Etw }),
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
                self.ports.replace(port.original, port.acquirer, self.order.read(port.port));
            }
            Tcpip::Shared(port) => self.share(port, told),
            Tcpip::Reserved { status: 0, transport, start, count } => {
                self.reserve(transport, start, count, told);
            }
            Tcpip::Reserved { .. } => {}
        }
    }

    /// 1191: an endpoint has a port from now on.
    fn acquire(&mut self, fact: PortFact, told: &mut Told<'_, '_>) {
        let port = self.order.read(fact.port);
        if self.ports.is_held_by(fact.acquirer, port) {
            return; // Of a dual-mode socket, once for each family.
        }
        let asked = self.threads.get(told.record.tid).and_then(threads::Request::local);
        let chosen = asked.is_some_and(|asked| asked.port() == 0);
        if !self.is_dynamic(Protocol::Tcp, port, chosen, told) {
            return;
        }
        let claim = self.claim_of(fact.acquirer, told);
        let local = asked.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |asked| asked.ip());
        let acquired = self.hold(Protocol::Tcp, &claim.owner, SocketAddr::new(local, port));
        self.endpoints.bind(fact.acquirer, port, acquired.hold);
        let holder =
            if fact.weak { Holder::Connection(fact.acquirer) } else { Holder::Endpoint(fact.acquirer) };
        self.begin(acquired, holder, claim.trust, told);
    }

    /// 1192: a connection has its endpoint's port, too, or did not get it.
    fn inherit(&mut self, fact: PortFact, told: &mut Told<'_, '_>) {
        if !fact.weak {
            return;
        }
        let port = self.order.read(fact.port);
        let (tcb, endpoint) = (fact.acquirer, fact.original);
        if self.ports.inherit(tcb, endpoint, port).is_some() {
            let destination = self.destination(tcb);
            destination.port = Some(port);
            if let Some(remote) = destination.remote {
                self.ports.change(tcb, SocketState::SynSent, Some(remote), &mut told.out);
            }
            return;
        }
        self.destination(tcb).inherited = Some((endpoint, port));
        self.adopt(tcb, told);
    }

    /// A connection from an endpoint that was bound before the trace began: it is met now. One that
    /// was accepted is not, for it takes no port of its own.
    fn adopt(&mut self, tcb: u64, told: &mut Told<'_, '_>) {
        let Some(&Destination { remote: Some(remote), inherited: Some((endpoint, port)), .. }) =
            self.destinations.get(&tcb)
        else {
            return;
        };
        if !self.is_dynamic(Protocol::Tcp, port, false, told) {
            return;
        }
        let claim = self.claim_of(endpoint, told);
        let local = SocketAddr::new(unspecified(remote), port);
        let acquired = Acquired { pre_existing: true, ..self.hold(Protocol::Tcp, &claim.owner, local) };
        self.endpoints.bind(endpoint, port, acquired.hold);
        self.begin(acquired, Holder::Endpoint(endpoint), claim.trust, told);
        self.ports.inherit(tcb, endpoint, port);
        let destination = self.destination(tcb);
        (destination.port, destination.inherited) = (Some(port), None);
        self.ports.change(tcb, SocketState::SynSent, Some(remote), &mut told.out);
    }

    /// A new hold of `owner`, bound to `local` and nothing else.
    fn hold(&mut self, protocol: Protocol, owner: &OwnerId, local: SocketAddr) -> Acquired {
        self.next_hold += 1;
        let pool = pool(protocol);
        Acquired {
            hold: HoldId(self.next_hold),
            owner: owner.clone(),
            pool,
            range: self.ranges.get(&pool).copied(),
            pre_existing: false,
            local: local.ip(),
            port: Some(local.port()),
            remote: None,
            state: SocketState::Bound,
            site: None,
        }
    }

    /// A TCP port is held from now on, as far as is known by `holder`.
    fn begin(&mut self, acquired: Acquired, holder: Holder, trust: Trust, told: &mut Told<'_, '_>) {
        if self.ports.has_room() {
            self.ports.enter(&acquired, holder, trust);
            told.out.push(EventKind::Acquired(acquired));
        } else {
            told.out.push(EventKind::Lost { count: 1, stage: LossStage::Queue });
        }
    }

    /// 1193: an endpoint or connection gave its reference back, and is done with.
    fn release(&mut self, fact: PortFact, told: &mut Told<'_, '_>) {
        self.ports.release(fact.acquirer, self.order.read(fact.port), &mut told.out);
        self.destinations.remove(&fact.acquirer);
        self.endpoints.remove(fact.acquirer);
    }

    /// 1195: ports have become so few that one with closing connections was given out again.
    fn share(&mut self, fact: PortFact, told: &mut Told<'_, '_>) {
        if self.is_dynamic(Protocol::Tcp, self.order.read(fact.port), false, told) {
            told.out.push(EventKind::Scarce { pool: pool(Protocol::Tcp) });
        }
    }

    /// 1002: a connection is asked for.
    fn connect(&mut self, connection: &Connection, told: &mut Told<'_, '_>) {
        let tcb = connection.tcb;
        if let Some(before) = self.destinations.get(&tcb)
            && before.remote.is_some()
            && let Some(port) = before.port
        {
            // Its block was another connection's, whose release was not seen.
            self.ports.release(tcb, port, &mut told.out);
            self.destinations.remove(&tcb);
        }
        self.destination(tcb).remote = connection.remote;
        self.ports.change(tcb, SocketState::SynSent, connection.remote, &mut told.out);
        self.adopt(tcb, told);
    }

    /// 1033: a connection was made.
    fn connected(&mut self, connection: &Connection, told: &mut Told<'_, '_>) {
        self.claim(connection, told);
        self.ports.change(connection.tcb, SocketState::Connected, connection.remote, &mut told.out);
    }

    /// 1034: a connection was refused, or got no answer. The socket keeps its port.
    fn fail(&mut self, connection: &Connection, told: &mut Told<'_, '_>) {
        self.claim(connection, told);
        self.ports.change(connection.tcb, SocketState::Bound, None, &mut told.out);
        self.destinations.remove(&connection.tcb);
    }

    fn claim(&mut self, connection: &Connection, told: &mut Told<'_, '_>) {
        if connection.pid != 0 {
            let claim = self.named(connection.pid, connection.start_key, Trust::Field, None, told);
            self.ports.claim(connection.tcb, claim, &mut told.out);
        }
    }

    /// 1051: the states of RFC 9293, with Windows' numbers.
    fn change(&mut self, tcb: u64, state: u32, told: &mut Told<'_, '_>) {
        let state = match state {
            4 => SocketState::Connected,
            7 => SocketState::CloseWait,
            5 | 6 | 8 | 9 => SocketState::Closing,
            10 => return self.ports.wait(tcb, &mut told.out),
            // 0, 1: nothing that its holders do not say. 2: 1002 has said so. 3: it was accepted.
            _ => return,
        };
        self.ports.change(tcb, state, None, &mut told.out);
    }

    /// 1300: a connection that was there before.
    fn find(&mut self, connection: &Connection, state: u32, told: &mut Told<'_, '_>) {
        let Some((local, remote)) = connection.local.zip(connection.remote) else {
            return;
        };
        let is_known = self.ports.of_connection(connection.tcb).is_some();
        if is_known || !self.is_dynamic(Protocol::Tcp, local.port(), false, told) {
            return;
        }
        let state = match state {
            2 => SocketState::SynSent,
            4 => SocketState::Connected,
            7 => SocketState::CloseWait,
            5 | 6 | 8 | 9 => SocketState::Closing,
            10 => {
                let Acquired { hold, pool, .. } = self.hold(Protocol::Tcp, &OwnerId::Unowned, local);
                let ends_ns = told.out.at_ns.saturating_add(TIME_WAIT_MAX_NS);
                let found = TimeWaitFound { hold, pool, remote: Some(remote), ends_ns };
                return told.out.push(EventKind::TimeWaitFound(found));
            }
            _ => return,
        };
        let claim = self.named(connection.pid, connection.start_key, Trust::Field, None, told);
        let acquired = self.hold(Protocol::Tcp, &claim.owner, local);
        let acquired = Acquired { pre_existing: true, remote: Some(remote), state, ..acquired };
        self.begin(acquired, Holder::Connection(connection.tcb), claim.trust, told);
        *self.destination(connection.tcb) =
            Destination { remote: Some(remote), port: Some(local.port()), inherited: None };
    }

    /// Whether a port is of the pool. One that Windows has chosen is, and the pool as large as that.
    fn is_dynamic(&mut self, protocol: Protocol, port: u16, chosen: bool, told: &mut Told<'_, '_>) -> bool {
        let pool = pool(protocol);
        let range = self.ranges.entry(pool).or_insert(DEFAULT_RANGE);
        if (range.low..=range.high).contains(&port) {
            return true;
        }
        if chosen {
            (range.low, range.high) = (range.low.min(port), range.high.max(port));
            let range = *range;
            told.out.push(EventKind::Pool { pool, range });
        }
        chosen
    }

    /// 1519: ports of the pool are kept for someone, and not handed out.
    fn reserve(&mut self, transport: u32, start: u16, count: u16, told: &mut Told<'_, '_>) {
        let protocol = match transport {
            6 => Protocol::Tcp,
            17 => Protocol::Udp,
            _ => return,
        };
        let pool = pool(protocol);
        let range = self.ranges.entry(pool).or_insert(DEFAULT_RANGE);
        let end = u32::from(start) + u32::from(count);
        let inside = end.min(u32::from(range.high) + 1).saturating_sub(start.max(range.low).into());
        if inside > 0 {
            range.reserved += inside;
            let range = *range;
            told.out.push(EventKind::Pool { pool, range });
        }
    }

    fn afd(&mut self, afd: &Afd, told: &mut Told<'_, '_>) {
        self.people.meet(afd.process, afd.pid);
        let Some(tid) = told.record.tid else {
            return;
        };
        if afd.done {
            let request = self.threads.leave(tid, afd);
            self.refuse_request(afd, &request, told);
        } else {
            self.threads.enter(tid, afd);
        }
    }

    fn destination(&mut self, tcb: u64) -> &mut Destination {
        if self.destinations.len() >= CONNECTIONS_MAX {
            let ports = &self.ports;
            self.destinations.retain(|tcb, _| ports.of_connection(*tcb).is_some());
        }
        self.destinations.entry(tcb).or_default()
    }
}

/// The unspecified address of the same family.
fn unspecified(address: SocketAddr) -> IpAddr {
    if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
}
