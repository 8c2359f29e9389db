//! How fast the engine is, and how much memory it takes for each live hold.

use super::kinds::Run;
use super::play::{Levels, Listener, play};
use super::traffic::{Actor, Behaviour, Births, Life};
use tracer::engine::{Config, Engine};
use tracer::event::{Event, HoldId};

/// Keeps all events.
#[derive(Default)]
struct Keep(Vec<Event>);

impl Listener for Keep {
    fn event(&mut self, event: &Event) {
        self.0.push(event.clone());
    }

    fn second(&mut self, _: u32, _: &Levels) -> Vec<HoldId> {
        Vec::new()
    }

    fn is_done(&self) -> bool {
        false
    }
}

/// Keeps none: the engine takes them at once.
struct Apply(Engine);

impl Listener for Apply {
    fn event(&mut self, event: &Event) {
        self.0.apply(event);
    }

    fn second(&mut self, _: u32, _: &Levels) -> Vec<HoldId> {
        Vec::new()
    }

    fn is_done(&self) -> bool {
        false
    }
}

/// One line for people.
pub(crate) fn measure() -> String {
    // Memory first: what is freed later on would hide it.
    let before = resident_bytes();
    let mut apply = Apply(Engine::new(Config::default(), 0));
    play(&run(Births::Poisson(200.0), Life::Never, 10.0), 1, false, &mut apply);
    let holds = apply.0.progress().held;
    let bytes = resident_bytes().saturating_sub(before);
    drop(apply);
    let mut keep = Keep::default();
    play(&run(Births::Poisson(200.0), Life::LogNormal(0.05, 1.0), 60.0), 1, false, &mut keep);
    let began_ns = on_cpu_ns();
    let mut engine = Engine::new(Config::default(), 0);
    keep.0.iter().for_each(|event| engine.apply(event));
    let rate = keep.0.len() as f64 / (on_cpu_ns() - began_ns).max(1) as f64;
    format!(
        "{:.1} M events a second of CPU; {holds} live holds take at most {} bytes each, those of the traffic's \
         own bookkeeping included",
        rate * 1e3,
        bytes / holds.max(1),
    )
}

/// A hundred processes that all do the same, for so long.
fn run(births: Births, life: Life, seconds: f64) -> Run {
    let one = |number| Behaviour {
        actor: Actor::Process(number),
        server: number % 10,
        ..Behaviour::new(births.clone(), life)
    };
    let behaviours = (1..=100).map(one).collect();
    Run { behaviours, leak_s: None, nominal: true, attach_s: 0.0, loss: 0.0, seconds }
}

/// How long this process was on a CPU; 0 where that cannot be read.
fn on_cpu_ns() -> u64 {
    let schedstat = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    schedstat.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or_default()
}

/// What the process takes of memory; 0 where that cannot be read.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or_default() * 4_096
}
