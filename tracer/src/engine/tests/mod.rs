//! Stories: a script of what processes do with ports, and what the engine makes of it.
//!
//! Time is an argument, so a story of two hours takes milliseconds.

mod bookkeeping;
mod early_warning;
mod folding;
mod ownership;
mod properties;
mod resting;
mod robustness;
mod sites;
mod verdicts;
mod view;

use super::report::{Finding, LeakKind, Summary, Verdict};
use super::{Config, Engine, Profile, SECOND_NS};
use crate::event::{
    Acquired, Event, EventKind, HoldId, NetNs, OwnerId, PoolId, PortRange, ProcessFacts, ProcessId, Protocol,
    SocketState,
};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

const START_NS: u64 = 1_000 * SECOND_NS;
const RANGE: PortRange = PortRange { low: 32_768, high: 60_999, reserved: 0 };

/// The server that all connect to.
fn server() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 9999))
}

fn process(pid: u32) -> ProcessId {
    ProcessId { pid, started_ticks: 100 * u64::from(pid) }
}

fn pool(protocol: Protocol) -> PoolId {
    PoolId { netns: NetNs(1), protocol }
}

/// What processes do, in any order; sorted when it is run.
#[derive(Clone, Debug, Default)]
struct Script {
    events: Vec<Event>,
    next: u64,
}

impl Script {
    fn at(&mut self, second: f64, kind: EventKind) -> &mut Self {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a test's seconds")]
        let at_ns = START_NS + (second * SECOND_NS as f64) as u64;
        self.events.push(Event { at_ns, kind });
        self
    }

    fn name(&mut self, second: f64, pid: u32, comm: &str) -> &mut Self {
        let facts = ProcessFacts { comm: comm.into(), ..ProcessFacts::default() };
        self.at(second, EventKind::Process { id: process(pid), facts })
    }

    fn acquire_as(&mut self, second: f64, pid: u32, change: impl FnOnce(&mut Acquired)) -> HoldId {
        let hold = HoldId(self.next);
        let mut acquired = Acquired {
            hold,
            owner: OwnerId::Process(process(pid)),
            pool: pool(Protocol::Tcp),
            range: Some(RANGE),
            pre_existing: false,
            local: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: u16::try_from(32_768 + self.next % 28_000).ok(),
            remote: Some(server()),
            state: SocketState::Connected,
            site: None,
        };
        self.next += 1;
        change(&mut acquired);
        self.at(second, EventKind::Acquired(acquired));
        hold
    }

    fn acquire(&mut self, second: f64, pid: u32) -> HoldId {
        self.acquire_as(second, pid, |_| {})
    }

    fn release(&mut self, second: f64, hold: HoldId) -> &mut Self {
        self.at(second, EventKind::Released { hold })
    }

    /// A connection that lives for so long.
    fn connection(&mut self, second: f64, pid: u32, lives_s: f64) {
        let hold = self.acquire(second, pid);
        self.release(second + lives_s, hold);
    }

    /// `per_second` times a second between two seconds.
    fn each(
        &mut self,
        per_second: f64,
        from: f64,
        to: f64,
        mut what: impl FnMut(&mut Self, f64),
    ) -> &mut Self {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a test's count")]
        let count = ((to - from) * per_second).round() as u32;
        (0..count).for_each(|i| what(self, from + f64::from(i) / per_second));
        self
    }

    fn run(&self, profile: Profile, until: f64) -> Outcome {
        self.run_with(Config { profile, ..Config::default() }, until)
    }

    fn run_with(&self, config: Config, until: f64) -> Outcome {
        let mut events = self.events.clone();
        events.sort_by_key(|event| event.at_ns);
        let mut engine = Engine::new(config, START_NS);
        for event in &events {
            engine.apply(event);
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a test's seconds")]
        let end_ns = START_NS + (until * SECOND_NS as f64) as u64;
        engine.advance(end_ns);
        Outcome { findings: engine.take_findings(), summary: engine.summary(end_ns) }
    }
}

/// What came of a script.
struct Outcome {
    findings: Vec<Finding>,
    summary: Summary,
}

impl Outcome {
    /// The changes of verdict: second, verdict, kind.
    fn verdicts(&self) -> Vec<(f64, Verdict, Option<LeakKind>)> {
        let changes = self.findings.iter().filter_map(|finding| match finding {
            Finding::Verdict { at_ns, verdict, evidence, .. } => {
                let second = (at_ns - START_NS) as f64 / SECOND_NS as f64;
                Some((second, *verdict, evidence.first().map(|evidence| evidence.kind)))
            }
            _ => None,
        });
        changes.collect()
    }

    /// When a verdict was first given.
    fn first(&self, wanted: Verdict) -> Option<f64> {
        self.verdicts().into_iter().find(|&(_, verdict, _)| verdict == wanted).map(|(second, ..)| second)
    }

    fn worst(&self) -> Verdict {
        self.verdicts().into_iter().map(|(_, verdict, _)| verdict).max().unwrap_or_default()
    }
}
