//! The questions, and what was heard that answers them.

use super::captured_events::{CapturedEvent, CapturedEvents};
use super::{Scenario, Step, Way};
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

/// What was heard of the walk, question by question.
#[must_use]
pub fn answers(heard: &CapturedEvents, walk: &Scenario) -> Vec<Answer> {
    let story = Story { heard, walk };
    let answer =
        |question: &str, observed: Option<String>| Answer { question: question.to_owned(), observed };
    vec![
        answer("do own sockets take their ports and give them back?", story.ports()),
        answer("in which byte order does 1191 write the port?", story.byte_order()),
        answer("is the acquirer of 1191 the endpoint of 1001?", story.endpoint_identity()),
        answer("is the acquirer of 1192 the connection of 1002?", story.connection_identity()),
        answer("does TIME_WAIT keep a reference to the port, and how long?", story.time_wait()),
        answer("which event tells a failed bind?", story.failed_bind()),
        answer("does AFD still write its events 1 to 41?", Some(times(heard.of_old, "record"))),
        answer("does AFD tell of the kernel's own sockets?", story.kernel_afd()),
        answer("which pid have the kernel's own sockets in 1001 and 1391?", story.kernel_pid()),
        answer("does asking for the state list the connections (1300)?", story.rundown()),
        answer("have sockets' creations a stack?", story.stacks()),
        answer("how many events, and bytes, does a connection take?", story.volume()),
        answer("are losses told to the session?", story.losses()),
        answer("could all be read?", Some(story.legibility())),
    ]
}

fn times(count: u64, what: &str) -> String {
    match count {
        0 => format!("no {what} of them was seen"),
        1 => format!("yes: 1 {what}"),
        count => format!("yes: {count} {what}s"),
    }
}

struct Story<'a> {
    heard: &'a CapturedEvents,
    walk: &'a Scenario,
}

impl CapturedEvents {
    /// Whether there is a TIME_WAIT of ours whose end will be an answer.
    #[must_use]
    pub fn waits_for(&self, walk: &Scenario) -> bool {
        Story { heard: self, walk }.time_wait_of_first() == Some(TimeWait::Lasts)
    }
}

impl<'a> Story<'a> {
    fn own(&self) -> impl Iterator<Item = &'a CapturedEvent> + use<'a> {
        let pid = self.walk.pid;
        self.heard.said.iter().filter(move |said| said.pid == pid)
    }

    fn steps(&self, ways: &'static [Way]) -> impl Iterator<Item = &'a Step> + use<'a> {
        self.walk.steps.iter().filter(move |step| ways.contains(&step.way))
    }

    /// 1191 of a port of ours, whatever its byte order; with the record that it is in.
    fn acquired(&self, port: u16) -> Option<(&'a CapturedEvent, PortReference)> {
        self.own().find_map(|said| match said.fact {
            DecodedEvent::Tcpip(Tcpip::Acquired(fact)) if is_port(fact.port, port) => Some((said, fact)),
            _ => None,
        })
    }

    fn released(&self, acquirer: u64, port: u16) -> Option<&'a CapturedEvent> {
        self.heard.said.iter().find(|said| match said.fact {
            DecodedEvent::Tcpip(Tcpip::Released(fact)) => {
                fact.acquirer == acquirer && is_port(fact.port, port)
            }
            _ => false,
        })
    }

    /// 1002 of a connection of ours.
    fn connecting(&self, step: &Step) -> Option<Connection> {
        let is_from = |local: SocketAddr| [0, step.local.port()].contains(&local.port());
        self.own().find_map(|said| match said.fact {
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
            if let Some((_, fact)) = self.acquired(step.local.port()) {
                acquired += 1;
                released += u32::from(self.released(fact.acquirer, step.local.port()).is_some());
            }
        }
        for step in self.steps(&[Way::BoundUdp, Way::SentUdp]) {
            all += 1;
            let told = |of: fn(&Tcpip) -> Option<&Endpoint>| {
                self.heard.said.iter().any(|said| match &said.fact {
                    DecodedEvent::Tcpip(tcpip) => of(tcpip)
                        .and_then(|at| at.local)
                        .is_some_and(|local| local.port() == step.local.port()),
                    _ => false,
                })
            };
            acquired += u32::from(told(|fact| match fact {
                Tcpip::Bound(Protocol::Udp, endpoint) => Some(endpoint),
                _ => None,
            }));
            released += u32::from(told(|fact| match fact {
                Tcpip::Closed(Protocol::Udp, endpoint) => Some(endpoint),
                _ => None,
            }));
        }
        (all > 0).then(|| format!("{acquired} of {all} acquired, {released} released"))
    }

    fn byte_order(&self) -> Option<String> {
        let (mut machine, mut network) = (0, 0);
        for port in self.steps(&TCP).map(|step| step.local.port()) {
            if let Some((_, fact)) = self.acquired(port).filter(|_| port != port.swap_bytes()) {
                machine += u32::from(fact.port == port);
                network += u32::from(fact.port != port);
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
            let (at, fact) = self.acquired(step.local.port())?;
            let created = self.before(at).find_map(|said| match said.fact {
                DecodedEvent::Tcpip(Tcpip::Created(Protocol::Tcp, endpoint)) if said.id == 1001 => {
                    endpoint.endpoint
                }
                _ => None,
            })?;
            Some((fact.acquirer, created))
        });
        identity(pairs)
    }

    fn connection_identity(&self) -> Option<String> {
        let pairs = self.steps(&[Way::Connected, Way::BoundConnected]).filter_map(|step| {
            let connection = self.connecting(step)?;
            let port = step.local.port();
            let inherited = self.own().find_map(|said| match said.fact {
                DecodedEvent::Tcpip(Tcpip::Inherited(fact)) if is_port(fact.port, port) => {
                    Some(fact.acquirer)
                }
                _ => None,
            })?;
            Some((inherited, connection.tcb))
        });
        identity(pairs)
    }

    /// What was said on the same thread before, the latest first.
    fn before(&self, at: &'a CapturedEvent) -> impl Iterator<Item = &'a CapturedEvent> + use<'a> {
        let same_thread = move |said: &&CapturedEvent| said.tid == at.tid && said.at <= at.at;
        self.heard.said.iter().rev().filter(same_thread)
    }

    fn time_wait(&self) -> Option<String> {
        let waited_s = self.walk.heard_s;
        Some(match self.time_wait_of_first()? {
            TimeWait::Untold => "TIME_WAIT is not told (1051)".to_owned(),
            TimeWait::Over(after) if after < 0 => "no: 1193 comes before it".to_owned(),
            TimeWait::Over(after) => {
                let after_ms = after / TICKS_PER_MS;
                format!("yes: 1193 comes {}.{:03} s after it began", after_ms / 1000, after_ms % 1000)
            }
            TimeWait::Lasts => format!("yes, for longer than the {waited_s} s that were waited"),
        })
    }

    /// What became of the first connection that this side closed.
    fn time_wait_of_first(&self) -> Option<TimeWait> {
        let step = self.steps(&[Way::Connected]).next()?;
        let connection = self.connecting(step)?;
        let began = self.heard.said.iter().find(|said| {
            matches!(said.fact, DecodedEvent::Tcpip(Tcpip::State { tcb, state: TIME_WAIT }) if tcb == connection.tcb)
        });
        let Some(began) = began else {
            return Some(TimeWait::Untold);
        };
        let released = self.released(connection.tcb, step.local.port());
        let after =
            |released: &CapturedEvent| TimeWait::Over(released.at.cast_signed() - began.at.cast_signed());
        Some(released.map_or(TimeWait::Lasts, after))
    }

    fn failed_bind(&self) -> Option<String> {
        self.steps(&[Way::Taken]).next()?;
        let told: BTreeSet<_> = self.own().filter_map(failed_bind).collect();
        let told: Vec<_> =
            told.iter().map(|(id, status)| format!("{id} with status {status:#010x}")).collect();
        (!told.is_empty()).then(|| told.join(", "))
    }

    fn kernel_afd(&self) -> Option<String> {
        let of_kernel = |said: &&CapturedEvent| match &said.fact {
            DecodedEvent::Afd(afd) => {
                afd.action == AfdAction::Create && (afd.pid == SYSTEM || said.pid == SYSTEM)
            }
            _ => false,
        };
        let count = self.heard.said.iter().filter(of_kernel).count();
        self.kernel_created().next()?;
        Some(times(count as u64, "creation"))
    }

    /// 1001 and 1391 of sockets that nobody but the kernel can have made.
    fn kernel_created(&self) -> impl Iterator<Item = (&'a CapturedEvent, &'a Endpoint)> + use<'a> {
        self.heard.said.iter().filter_map(|said| match &said.fact {
            DecodedEvent::Tcpip(Tcpip::Created(_, endpoint))
                if said.id != 1013 && (said.pid == SYSTEM || endpoint.pid == SYSTEM) =>
            {
                Some((said, endpoint))
            }
            _ => None,
        })
    }

    fn kernel_pid(&self) -> Option<String> {
        let pids: BTreeSet<_> =
            self.kernel_created().map(|(said, endpoint)| (endpoint.pid, said.pid)).collect();
        let shown = |&(field, header): &(u32, u32)| format!("{field} (written by process {header})");
        (!pids.is_empty()).then(|| pids.iter().map(shown).collect::<Vec<_>>().join(", "))
    }

    fn rundown(&self) -> Option<String> {
        let listed =
            self.heard.said.iter().filter(|said| matches!(said.fact, DecodedEvent::Tcpip(Tcpip::Exists(..))));
        Some(times(listed.count() as u64, "connection"))
    }

    fn stacks(&self) -> Option<String> {
        let depth = |of: &mut dyn Iterator<Item = &'a CapturedEvent>| {
            let (mut all, mut with, mut kernel) = (0_usize, 0_usize, 0_usize);
            for said in of {
                all += 1;
                with += usize::from(said.frames.0 > 0);
                kernel += usize::from(said.frames.1 > 0);
            }
            (all > 0).then(|| format!("{with} of {all}, {kernel} with frames of the kernel"))
        };
        let created = |said: &&CapturedEvent| {
            matches!(said.fact, DecodedEvent::Tcpip(Tcpip::Created(..))) && said.id != 1013
        };
        let ours = depth(&mut self.own().filter(created))?;
        let kernels = depth(&mut self.kernel_created().map(|(said, _)| said));
        Some(format!("ours: {ours}; the kernel's: {}", kernels.as_deref().unwrap_or("none was made")))
    }

    fn volume(&self) -> Option<String> {
        let connections = self.steps(&[Way::Connected]).count() as u64;
        let ports: Vec<_> = self.steps(&[Way::Connected]).map(|step| step.local.port()).collect();
        let first = ports.iter().filter_map(|&port| self.acquired(port)).map(|(said, _)| said.at).min()?;
        let last = self.steps(&[Way::Connected]).last()?;
        let until = self.acquired(last.local.port())?.0.at;
        let (mut events, mut bytes) = (0, 0);
        for said in self.own().filter(|said| (first..=until).contains(&said.at)) {
            events += 1;
            bytes += said.bytes;
        }
        let between = connections.checked_sub(1).filter(|&between| between > 0)?;
        Some(format!("about {} events and {} bytes", events / between, bytes / between))
    }

    fn losses(&self) -> Option<String> {
        (self.heard.losses > 0).then(|| times(self.heard.losses, "event"))
    }

    fn legibility(&self) -> String {
        match (self.heard.unreadable, self.heard.beyond) {
            (0, 0) => format!("yes, all {}", self.heard.said.len()),
            (unreadable, beyond) => format!("{unreadable} could not, and {beyond} were too many to keep"),
        }
    }
}

/// What is heard of a TIME_WAIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TimeWait {
    /// Nothing.
    Untold,
    /// Its port's last reference went so long after it began, in units of 100 ns.
    Over(i64),
    /// Its port is still referred to.
    Lasts,
}

/// The ways on which a port of TCP is had.
const TCP: [Way; 4] = [Way::Bound, Way::Connected, Way::BoundConnected, Way::Refused];

fn is_port(written: u16, port: u16) -> bool {
    written == port || written == port.swap_bytes()
}

/// A bind that was refused: which event says so, with which status.
fn failed_bind(said: &CapturedEvent) -> Option<(String, u32)> {
    match &said.fact {
        DecodedEvent::Afd(afd) if afd.action == AfdAction::Bind && afd.done && afd.status != 0 => {
            Some((format!("AFD {}", said.id), afd.status))
        }
        DecodedEvent::Tcpip(Tcpip::BindFailed(_, endpoint)) => {
            Some((format!("TCPIP {}", said.id), endpoint.status))
        }
        _ => None,
    }
}

/// Whether two names are one, or always equally far apart.
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
