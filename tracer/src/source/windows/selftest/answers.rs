//! The questions of the self-test, and their answers from the captured events.

use super::captured_events::{CapturedEvent, CapturedEvents};
use super::{Operation, Scenario, Step};
use crate::event::{Answer, Protocol};
use crate::source::windows::decoded_event::{
    AfdAction, Connection, DecodedEvent, Endpoint, PortReference, Tcpip,
};
use std::collections::BTreeSet;
use std::net::SocketAddr;

/// Windows' own process.
const SYSTEM: u32 = 4;
/// `TIME_WAIT` in event 1051.
const TIME_WAIT: u32 = 10;
/// FILETIME's ticks in a millisecond.
const TICKS_PER_MS: i64 = 10_000;

/// The answer to each question, from what was captured of the scenario.
#[must_use]
pub fn answers(captured: &CapturedEvents, scenario: &Scenario) -> Vec<Answer> {
    let analysis = Analysis { captured, scenario };
    let answer =
        |question: &str, observed: Option<String>| Answer { question: question.to_owned(), observed };
    vec![
        answer("do own sockets take their ports and give them back?", analysis.ports()),
        answer("in which byte order does 1191 write the port?", analysis.byte_order()),
        answer("is the acquirer of 1191 the endpoint of 1001?", analysis.endpoint_identity()),
        answer("is the acquirer of 1192 the connection of 1002?", analysis.connection_identity()),
        answer("does TIME_WAIT keep a reference to the port, and how long?", analysis.time_wait()),
        answer("which event reports a failed bind?", analysis.failed_bind()),
        answer("does AFD still write its events 1 to 41?", Some(times(captured.legacy, "record"))),
        answer("does AFD report the kernel's own sockets?", analysis.kernel_afd()),
        answer("which pid do the kernel's own sockets have in 1001 and 1391?", analysis.kernel_pid()),
        answer("does a capture-state request list the connections (1300)?", analysis.rundown()),
        answer("do socket creations carry a stack?", analysis.stacks()),
        answer("how many events and bytes does a connection take?", analysis.volume()),
        answer("does the session report losses?", analysis.losses()),
        answer("could all records be decoded?", Some(analysis.decoded())),
    ]
}

fn times(count: u64, what: &str) -> String {
    match count {
        0 => format!("no {what} of them was seen"),
        1 => format!("yes: 1 {what}"),
        count => format!("yes: {count} {what}s"),
    }
}

struct Analysis<'a> {
    captured: &'a CapturedEvents,
    scenario: &'a Scenario,
}

impl CapturedEvents {
    /// Whether a TIME_WAIT of the scenario has not ended yet. Its end will be an answer.
    #[must_use]
    pub fn is_waiting_for(&self, scenario: &Scenario) -> bool {
        Analysis { captured: self, scenario }.time_wait_of_first() == Some(TimeWait::Lasts)
    }
}

impl<'a> Analysis<'a> {
    fn own(&self) -> impl Iterator<Item = &'a CapturedEvent> + use<'a> {
        let pid = self.scenario.pid;
        self.captured.events.iter().filter(move |event| event.pid == pid)
    }

    fn steps(&self, operations: &'static [Operation]) -> impl Iterator<Item = &'a Step> + use<'a> {
        self.scenario.steps.iter().filter(move |step| operations.contains(&step.operation))
    }

    /// The 1191 of one of our ports in either byte order, with the event that carries it.
    fn acquired(&self, port: u16) -> Option<(&'a CapturedEvent, PortReference)> {
        self.own().find_map(|event| match event.decoded {
            DecodedEvent::Tcpip(Tcpip::Acquired(reference)) if is_port(reference.port, port) => {
                Some((event, reference))
            }
            _ => None,
        })
    }

    fn released(&self, acquirer: u64, port: u16) -> Option<&'a CapturedEvent> {
        self.captured.events.iter().find(|event| match event.decoded {
            DecodedEvent::Tcpip(Tcpip::Released(reference)) => {
                reference.acquirer == acquirer && is_port(reference.port, port)
            }
            _ => false,
        })
    }

    /// The 1002 of one of our connections.
    fn connecting(&self, step: &Step) -> Option<Connection> {
        let is_from = |local: SocketAddr| [0, step.local.port()].contains(&local.port());
        self.own().find_map(|event| match event.decoded {
            DecodedEvent::Tcpip(Tcpip::Connecting(connection)) => {
                let fits = connection.remote == step.remote && connection.local.is_none_or(is_from);
                fits.then_some(connection)
            }
            _ => None,
        })
    }

    fn ports(&self) -> Option<String> {
        let (mut all, mut acquired, mut released) = (0, 0, 0);
        for step in self.steps(&TCP) {
            all += 1;
            if let Some((_, reference)) = self.acquired(step.local.port()) {
                acquired += 1;
                released += u32::from(self.released(reference.acquirer, step.local.port()).is_some());
            }
        }
        for step in self.steps(&[Operation::BoundUdp, Operation::SentUdp]) {
            all += 1;
            let seen = |of: fn(&Tcpip) -> Option<&Endpoint>| {
                self.captured.events.iter().any(|event| match &event.decoded {
                    DecodedEvent::Tcpip(tcpip) => of(tcpip)
                        .and_then(|at| at.local)
                        .is_some_and(|local| local.port() == step.local.port()),
                    _ => false,
                })
            };
            acquired += u32::from(seen(|event| match event {
                Tcpip::Bound(Protocol::Udp, endpoint) => Some(endpoint),
                _ => None,
            }));
            released += u32::from(seen(|event| match event {
                Tcpip::Closed(Protocol::Udp, endpoint) => Some(endpoint),
                _ => None,
            }));
        }
        (all > 0).then(|| format!("{acquired} of {all} acquired, {released} released"))
    }

    fn byte_order(&self) -> Option<String> {
        let (mut machine, mut network) = (0, 0);
        for port in self.steps(&TCP).map(|step| step.local.port()) {
            if let Some((_, reference)) = self.acquired(port).filter(|_| port != port.swap_bytes()) {
                machine += u32::from(reference.port == port);
                network += u32::from(reference.port != port);
            }
        }
        match (machine, network) {
            (0, 0) => None,
            (_, 0) => Some(format!("the machine's, lower byte first ({machine} ports)")),
            (0, _) => Some(format!("the network's, higher byte first ({network} ports)")),
            _ => Some(format!("both: {machine} in the machine's, {network} in the network's")),
        }
    }

    fn endpoint_identity(&self) -> Option<String> {
        let pairs = self.steps(&TCP).filter_map(|step| {
            let (at, reference) = self.acquired(step.local.port())?;
            let created = self.before(at).find_map(|event| match event.decoded {
                DecodedEvent::Tcpip(Tcpip::Created(Protocol::Tcp, endpoint)) if event.id == 1001 => {
                    endpoint.endpoint
                }
                _ => None,
            })?;
            Some((reference.acquirer, created))
        });
        identity(pairs)
    }

    fn connection_identity(&self) -> Option<String> {
        let pairs = self.steps(&[Operation::Connected, Operation::BoundConnected]).filter_map(|step| {
            let connection = self.connecting(step)?;
            let port = step.local.port();
            let inherited = self.own().find_map(|event| match event.decoded {
                DecodedEvent::Tcpip(Tcpip::Inherited(reference)) if is_port(reference.port, port) => {
                    Some(reference.acquirer)
                }
                _ => None,
            })?;
            Some((inherited, connection.tcb))
        });
        identity(pairs)
    }

    /// Earlier events of the same thread, latest first.
    fn before(&self, at: &'a CapturedEvent) -> impl Iterator<Item = &'a CapturedEvent> + use<'a> {
        let same_thread = move |event: &&CapturedEvent| event.tid == at.tid && event.at <= at.at;
        self.captured.events.iter().rev().filter(same_thread)
    }

    fn time_wait(&self) -> Option<String> {
        let waited_s = self.scenario.captured_s;
        Some(match self.time_wait_of_first()? {
            TimeWait::NotReported => "TIME_WAIT is not reported (1051)".to_owned(),
            TimeWait::Over(after) if after < 0 => "no: 1193 comes before it".to_owned(),
            TimeWait::Over(after) => {
                let after_ms = after / TICKS_PER_MS;
                format!("yes: 1193 comes {}.{:03} s after it began", after_ms / 1000, after_ms % 1000)
            }
            TimeWait::Lasts => format!("yes, longer than the {waited_s} s that the test waited"),
        })
    }

    /// The TIME_WAIT of the first connection that this side closed.
    fn time_wait_of_first(&self) -> Option<TimeWait> {
        let step = self.steps(&[Operation::Connected]).next()?;
        let connection = self.connecting(step)?;
        let began = self.captured.events.iter().find(|event| {
            matches!(event.decoded, DecodedEvent::Tcpip(Tcpip::State { tcb, state: TIME_WAIT }) if tcb == connection.tcb)
        });
        let Some(began) = began else {
            return Some(TimeWait::NotReported);
        };
        let released = self.released(connection.tcb, step.local.port());
        let after =
            |released: &CapturedEvent| TimeWait::Over(released.at.cast_signed() - began.at.cast_signed());
        Some(released.map_or(TimeWait::Lasts, after))
    }

    fn failed_bind(&self) -> Option<String> {
        self.steps(&[Operation::InUse]).next()?;
        let reported: BTreeSet<_> = self.own().filter_map(failed_bind).collect();
        let reported: Vec<_> =
            reported.iter().map(|(id, status)| format!("{id} with status {status:#010x}")).collect();
        (!reported.is_empty()).then(|| reported.join(", "))
    }

    fn kernel_afd(&self) -> Option<String> {
        let of_kernel = |event: &&CapturedEvent| match &event.decoded {
            DecodedEvent::Afd(afd) => {
                afd.action == AfdAction::Create && (afd.pid == SYSTEM || event.pid == SYSTEM)
            }
            _ => false,
        };
        let count = self.captured.events.iter().filter(of_kernel).count();
        self.kernel_created().next()?;
        Some(times(count as u64, "creation"))
    }

    /// 1001 and 1391 of sockets that only the kernel can have created.
    fn kernel_created(&self) -> impl Iterator<Item = (&'a CapturedEvent, &'a Endpoint)> + use<'a> {
        self.captured.events.iter().filter_map(|event| match &event.decoded {
            DecodedEvent::Tcpip(Tcpip::Created(_, endpoint))
                if event.id != 1013 && (event.pid == SYSTEM || endpoint.pid == SYSTEM) =>
            {
                Some((event, endpoint))
            }
            _ => None,
        })
    }

    fn kernel_pid(&self) -> Option<String> {
        let pids: BTreeSet<_> =
            self.kernel_created().map(|(event, endpoint)| (endpoint.pid, event.pid)).collect();
        let shown = |&(field, header): &(u32, u32)| format!("{field} (written by process {header})");
        (!pids.is_empty()).then(|| pids.iter().map(shown).collect::<Vec<_>>().join(", "))
    }

    fn rundown(&self) -> Option<String> {
        let listed = self
            .captured
            .events
            .iter()
            .filter(|event| matches!(event.decoded, DecodedEvent::Tcpip(Tcpip::Exists(..))));
        Some(times(listed.count() as u64, "connection"))
    }

    fn stacks(&self) -> Option<String> {
        let depth = |of: &mut dyn Iterator<Item = &'a CapturedEvent>| {
            let (mut all, mut with, mut kernel) = (0_usize, 0_usize, 0_usize);
            for event in of {
                all += 1;
                with += usize::from(event.frames.0 > 0);
                kernel += usize::from(event.frames.1 > 0);
            }
            (all > 0).then(|| format!("{with} of {all}, {kernel} with frames of the kernel"))
        };
        let created = |event: &&CapturedEvent| {
            matches!(event.decoded, DecodedEvent::Tcpip(Tcpip::Created(..))) && event.id != 1013
        };
        let ours = depth(&mut self.own().filter(created))?;
        let kernels = depth(&mut self.kernel_created().map(|(event, _)| event));
        Some(format!("ours: {ours}; the kernel's: {}", kernels.as_deref().unwrap_or("none created")))
    }

    fn volume(&self) -> Option<String> {
        let connections = self.steps(&[Operation::Connected]).count() as u64;
        let ports: Vec<_> = self.steps(&[Operation::Connected]).map(|step| step.local.port()).collect();
        let first = ports.iter().filter_map(|&port| self.acquired(port)).map(|(event, _)| event.at).min()?;
        let last = self.steps(&[Operation::Connected]).last()?;
        let until = self.acquired(last.local.port())?.0.at;
        let (mut events, mut bytes) = (0, 0);
        for event in self.own().filter(|event| (first..=until).contains(&event.at)) {
            events += 1;
            bytes += event.bytes;
        }
        let between = connections.checked_sub(1).filter(|&between| between > 0)?;
        Some(format!("about {} events and {} bytes", events / between, bytes / between))
    }

    fn losses(&self) -> Option<String> {
        (self.captured.losses > 0).then(|| times(self.captured.losses, "event"))
    }

    fn decoded(&self) -> String {
        match (self.captured.unreadable, self.captured.beyond) {
            (0, 0) => format!("yes, all {}", self.captured.events.len()),
            (unreadable, beyond) => {
                format!("{unreadable} could not be decoded, and {beyond} exceeded the limit")
            }
        }
    }
}

/// What the events show of a TIME_WAIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TimeWait {
    /// Nothing.
    NotReported,
    /// The last reference to its port was released this long after it began, in units of 100 ns.
    Over(i64),
    /// A reference to its port remains.
    Lasts,
}

/// The operations that acquire a TCP port.
const TCP: [Operation; 4] =
    [Operation::Bound, Operation::Connected, Operation::BoundConnected, Operation::Refused];

fn is_port(written: u16, port: u16) -> bool {
    written == port || written == port.swap_bytes()
}

/// The event that reports a failed bind, and its status.
fn failed_bind(event: &CapturedEvent) -> Option<(String, u32)> {
    match &event.decoded {
        DecodedEvent::Afd(afd) if afd.action == AfdAction::Bind && afd.done && afd.status != 0 => {
            Some((format!("AFD {}", event.id), afd.status))
        }
        DecodedEvent::Tcpip(Tcpip::BindFailed(_, endpoint)) => {
            Some((format!("TCPIP {}", event.id), endpoint.status))
        }
        _ => None,
    }
}

/// Whether the two pointers of each pair are equal, or always the same distance apart.
fn identity(pairs: impl Iterator<Item = (u64, u64)>) -> Option<String> {
    let distances: Vec<_> = pairs.map(|(a, b)| a.cast_signed().wrapping_sub(b.cast_signed())).collect();
    let different: BTreeSet<_> = distances.iter().collect();
    let count = distances.len();
    match different.into_iter().collect::<Vec<_>>().as_slice() {
        [] => None,
        [0] => Some(format!("yes ({count} times)")),
        [distance] => Some(format!("no, but always {distance} bytes from it ({count} times)")),
        several => Some(format!("no: {} distances in {count} times", several.len())),
    }
}
