//! One run through the engine and the baselines, and how they did.

use super::baselines::Pollers;
use super::kinds::{Frame, Kind, Run};
use super::play::{Levels, Listener, SECOND_NS, USABLE, play};
use super::policies::PolicyName;
use super::traffic::{Actor, Births};
use portleak::engine::report::{Evidence, Finding, Owner, Verdict};
use portleak::engine::{Config, Engine, Profile};
use portleak::event::{Event, HoldId, OwnerId};
use std::fmt::Write;

/// How a run is judged.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub profile: Profile,
    pub frame: Frame,
    /// Whether the source answers how long a connection has been idle.
    pub answers: bool,
    /// The policy that judges.
    pub policy: PolicyName,
    /// Whether to list every change of verdict; then a run goes on after the leak is found.
    pub changes: bool,
}

impl Setup {
    /// Two hours in production, a quarter of an hour in a session.
    pub fn of(profile: Profile, answers: bool) -> Self {
        let frame = match profile {
            Profile::Production => Frame { seconds: 7_200.0, begin: 600.0 },
            Profile::Session => Frame { seconds: 900.0, begin: 60.0 },
        };
        Self { profile, frame, answers, policy: PolicyName::Lifetime, changes: false }
    }
}

/// How one run went. Times in seconds since the leak began.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub nominal: bool,
    /// When the leaking owner was first called so.
    pub growing: Option<f64>,
    pub suspected: Option<f64>,
    pub leak: Option<f64>,
    /// Ports that the leak held by then.
    pub leaked: u64,
    /// Whether the call site was the right one.
    pub site: Option<bool>,
    /// Forecast over truth, less one.
    pub forecast_error: Option<f64>,
    /// Somebody was suspected, or called a leak, who does not leak.
    pub false_suspected: bool,
    pub false_leak: bool,
    /// Every change of verdict, where they are listed.
    pub changes: Vec<String>,
    /// What was said wrongly.
    pub wrong: Option<String>,
    /// When the baselines cried: rightly …
    pub cried: [Option<f64>; 4],
    /// … and wrongly.
    pub cried_wolf: [bool; 4],
}

/// Runs one seed of a kind.
pub fn judge(kind: &Kind, seed: u64, setup: Setup) -> Outcome {
    let run = kind.run(seed, setup.frame);
    let config = Config { profile: setup.profile, ..Config::default() };
    let begin_ns = seconds(run.attach_s);
    let mut bench = Bench {
        run: &run,
        changes: setup.changes,
        engine: setup.policy.engine(config, begin_ns),
        pollers: Pollers::default(),
        outcome: Outcome { nominal: run.nominal, ..Outcome::default() },
    };
    play(&run, seed, setup.answers, &mut bench);
    let Bench { pollers, mut outcome, .. } = bench;
    for (at, cried) in pollers.cried.iter().enumerate() {
        match (cried, run.leak_s) {
            (&Some(cried), Some(leak_s)) if f64::from(cried) >= leak_s => {
                outcome.cried[at] = Some(f64::from(cried) - leak_s);
            }
            (Some(_), _) => outcome.cried_wolf[at] = true,
            (None, _) => {}
        }
    }
    outcome
}

struct Bench<'a> {
    run: &'a Run,
    changes: bool,
    engine: Engine,
    pollers: Pollers,
    outcome: Outcome,
}

impl Listener for Bench<'_> {
    fn event(&mut self, event: &Event) {
        if !self.is_decided() {
            self.engine.apply(event);
        }
    }

    fn second(&mut self, second: u32, levels: &Levels) -> Vec<HoldId> {
        self.pollers.second(second, levels);
        if self.is_decided() {
            return Vec::new();
        }
        self.engine.advance(u64::from(second) * SECOND_NS + 20_000_000);
        for finding in self.engine.take_findings() {
            if let Finding::Verdict { at_ns, owner, verdict, evidence, .. } = finding {
                let at_s = at_ns as f64 / SECOND_NS as f64;
                if self.changes {
                    self.outcome.changes.push(change(at_s, &owner, verdict, &evidence));
                }
                self.verdict(at_s, &owner, verdict, &evidence, levels);
            }
        }
        self.engine.take_idle_queries()
    }

    fn is_done(&self) -> bool {
        self.is_decided() && self.pollers.cried.iter().all(Option::is_some)
    }
}

impl Bench<'_> {
    /// Whether the engine need not go on.
    fn is_decided(&self) -> bool {
        self.outcome.leak.is_some() && !self.changes
    }

    fn verdict(
        &mut self,
        at_s: f64,
        owner: &Owner,
        verdict: Verdict,
        evidence: &[Evidence],
        levels: &Levels,
    ) {
        let after_s = self.run.leak_s.map(|leak_s| at_s - leak_s);
        let outcome = &mut self.outcome;
        let Some(after_s) = after_s.filter(|&after| after >= 0.0 && is_leaker(self.run, owner)) else {
            if verdict >= Verdict::Suspected {
                outcome.false_suspected = true;
                outcome.false_leak |= verdict == Verdict::Leak;
                outcome.wrong = Some(format!("{at_s:.0} s: {verdict:?} {:?} {evidence:?}", owner.id));
            }
            return;
        };
        let first = |known: &mut Option<f64>| _ = known.get_or_insert(after_s);
        match verdict {
            Verdict::Growing => first(&mut outcome.growing),
            Verdict::Suspected => first(&mut outcome.suspected),
            Verdict::Leak => {
                first(&mut outcome.leak);
                outcome.leaked = levels.leaked;
                let told = evidence.first();
                outcome.site = told.and_then(|told| told.site.as_ref()).map(|site| site.id.0.get() == 2);
                let forecast = told.and_then(|told| told.exhaustion_in_s);
                outcome.forecast_error =
                    forecast.zip(truth(self.run, levels)).map(|(said, is)| said / is - 1.0);
            }
            Verdict::Clean | Verdict::Churn | Verdict::Exhausted => {}
        }
    }
}

/// A change of verdict with all its numbers, to compare two builds.
fn change(at_s: f64, owner: &Owner, verdict: Verdict, evidence: &[Evidence]) -> String {
    let mut line = format!("{at_s:.0} {:?} {verdict:?}", owner.id);
    for one in evidence {
        let since_s = one.since_ns / SECOND_NS;
        let _ = write!(
            line,
            " | {:?} {since_s} {} {:.3} {:.3} {:.3?} {:.3?} {:?} {:?} {:?}",
            one.kind,
            one.held,
            one.rate_per_s,
            one.released_share,
            one.exhaustion_in_s,
            one.exhaustion_between_s,
            one.abandoned,
            one.processes,
            one.oldest_ns,
        );
    }
    line
}

/// Seconds until the pool is empty, if the leak's rate is constant.
fn truth(run: &Run, levels: &Levels) -> Option<f64> {
    let leak = run.behaviours.iter().find(|one| one.leak)?;
    let rate = match leak.births {
        Births::Poisson(rate) => rate,
        Births::Every(apart) => 1.0 / apart,
        _ => return None,
    };
    Some((f64::from(USABLE) - (levels.held + levels.time_wait) as f64) / rate)
}

fn is_leaker(run: &Run, owner: &Owner) -> bool {
    let leaks = run.behaviours.iter().filter(|one| one.leak);
    leaks.into_iter().any(|leak| match (leak.actor, &owner.id) {
        (Actor::Process(number), OwnerId::Process(id)) => id.pid == number,
        (Actor::System, OwnerId::System { module, .. }) => module.is_some(),
        (Actor::Leaving(_), OwnerId::Unowned) => true,
        (Actor::Each(_) | Actor::Leaving(_), OwnerId::Program(id)) => id.exe.ends_with("program-1"),
        _ => false,
    })
}

fn seconds(seconds: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "hours at most")]
    let ns = (seconds * SECOND_NS as f64) as u64;
    ns
}
