//! A trace through the engine: what is told, and what is summed up in the end.

use portleak::engine::report::{Finding, OwnerReport, Summary, Verdict};
use portleak::engine::{Config, Engine, Profile};
use portleak::event::{Capture, OwnerId};
use portleak::source::Source;
use portleak::source::windows::etl::Trace;
use std::io::Cursor;

pub struct Outcome {
    pub capture: Capture,
    pub findings: Vec<Finding>,
    pub summary: Summary,
}

/// How an engineer's session judges.
pub fn session() -> Config {
    Config { profile: Profile::Session, ..Config::default() }
}

pub fn replay(file: Vec<u8>) -> Outcome {
    replay_with(file, session())
}

pub fn replay_with(file: Vec<u8>, config: Config) -> Outcome {
    let mut trace = Trace::of("test.etl".to_owned(), Cursor::new(file)).expect("a trace");
    let mut engine = Engine::new(config, trace.now_ns());
    let mut events = Vec::new();
    let mut findings = Vec::new();
    while !trace.is_over() {
        trace.drain(&mut events).expect("a whole trace");
        for event in events.drain(..) {
            engine.apply(&event);
        }
        engine.advance(trace.now_ns());
        findings.extend(engine.take_findings());
    }
    let summary = engine.summary(trace.now_ns());
    Outcome { capture: trace.capture().clone(), findings, summary }
}

impl Outcome {
    pub fn process(&self, pid: u32) -> &OwnerReport {
        let mut owners = self.summary.owners.iter();
        let owner = owners.find(|report| matches!(report.owner.id, OwnerId::Process(id) if id.pid == pid));
        owner.unwrap_or_else(|| panic!("{pid} is no owner: {:#?}", self.summary.owners))
    }

    /// What System holds, by driver.
    pub fn system(&self) -> Vec<(Option<&str>, u64)> {
        let held = |report: &'_ OwnerReport| match &report.owner.id {
            OwnerId::System { .. } => Some(report.tcp.held + report.udp.held),
            _ => None,
        };
        let module = |report: &OwnerReport| match &report.owner.id {
            OwnerId::System { module, .. } => module.clone(),
            _ => None,
        };
        let names: Vec<_> =
            self.summary.owners.iter().filter_map(|r| held(r).map(|held| (module(r), held))).collect();
        let mut named: Vec<(Option<&str>, u64)> = Vec::new();
        for (name, held) in names {
            named.push((name.map(|name| &*Box::leak(name.to_string().into_boxed_str())), held));
        }
        named.sort_unstable();
        named
    }

    pub fn victims(&self) -> Vec<(Option<u32>, u64)> {
        let victim = |finding: &Finding| match finding {
            Finding::Exhausted { owner, top_holders, .. } => {
                let pid = match owner.id {
                    OwnerId::Process(id) => Some(id.pid),
                    _ => None,
                };
                Some((pid, top_holders.first().map_or(0, |(_, held)| *held)))
            }
            _ => None,
        };
        self.findings.iter().filter_map(victim).collect()
    }

    pub fn worst(&self) -> Verdict {
        self.summary.worst()
    }
}
