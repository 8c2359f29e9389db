//! Owners beyond the limits are folded into remainders, and the sums stay right.

use super::*;
use crate::engine::limits::Limits;
use crate::event::{LossStage, ProgramId, Totals};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn limits(owners: usize) -> Limits {
    Limits { owners, ended: owners / 2, programs: 3, remainders: 2, ..Limits::default() }
}

fn engine(limits: Limits) -> Engine {
    Engine::with_limits(Config::default(), limits, START_NS)
}

/// What all owners of a summary have: acquired, released and not moved, held, TIME_WAIT.
fn sums(summary: &Summary) -> [u64; 4] {
    summary.owners.iter().flat_map(|owner| [&owner.tcp, &owner.udp]).fold([0; 4], |sums, of| {
        [
            sums[0] + of.acquired,
            sums[1] + of.released - of.moved_out,
            sums[2] + of.held,
            sums[3] + of.time_wait,
        ]
    })
}

/// A machine: what its processes really did, and what the engine gets to know of it.
struct Machine {
    engine: Engine,
    now_ns: u64,
    next: u64,
    /// Live holds and whose they are.
    live: BTreeMap<HoldId, (u32, Acquired)>,
    totals: BTreeMap<u32, Totals>,
    released: u64,
    acquired: u64,
    /// Events that arrive late: CPUs and the ring buffer.
    late: Vec<EventKind>,
}

impl Machine {
    fn new(limits: Limits) -> Self {
        Self {
            engine: engine(limits),
            now_ns: START_NS,
            next: 1,
            live: BTreeMap::new(),
            totals: BTreeMap::new(),
            released: 0,
            acquired: 0,
            late: Vec::new(),
        }
    }

    fn emit(&mut self, kind: EventKind) {
        self.engine.apply(&Event { at_ns: self.now_ns, kind });
    }

    fn deliver(&mut self, kind: EventKind, fate: Fate) {
        match fate {
            Fate::InTime => self.emit(kind),
            Fate::Late => self.late.push(kind),
            Fate::Lost => self.emit(EventKind::Lost { count: 1, stage: LossStage::Kernel }),
        }
    }

    fn name(&mut self, pid: u32) {
        let exe = format!("/bin/program-{}", pid % 5);
        let facts = ProcessFacts { comm: "p".into(), exe: Some(exe.into()), ..ProcessFacts::default() };
        self.emit(EventKind::Process { id: process(pid), facts });
    }

    fn acquire(&mut self, pid: u32, fate: Fate) {
        let mut script = Script { next: self.next, ..Script::default() };
        self.next += 1;
        let hold = script.acquire(0.0, pid);
        let Some(EventKind::Acquired(acquired)) = script.events.pop().map(|event| event.kind) else { return };
        self.live.insert(hold, (pid, acquired.clone()));
        self.totals.entry(pid).or_default().acquired += 1;
        self.acquired += 1;
        self.deliver(EventKind::Acquired(acquired), fate);
    }

    fn release(&mut self, at: usize, fate: Fate, time_wait: bool) {
        let Some((&hold, &(pid, _))) = self.live.iter().nth(at % self.live.len().max(1)) else { return };
        self.live.remove(&hold);
        self.totals.entry(pid).or_default().released += 1;
        self.released += 1;
        if time_wait && fate == Fate::InTime {
            self.emit(EventKind::TimeWaitBegan { hold });
        }
        self.deliver(EventKind::Released { hold }, fate);
    }

    fn move_to(&mut self, at: usize, pid: u32) {
        let Some((&hold, _)) = self.live.iter().nth(at % self.live.len().max(1)) else { return };
        if !self.engine.holds.contains_key(&hold) {
            return;
        }
        if let Some((owner, _)) = self.live.get_mut(&hold) {
            self.totals.entry(*owner).or_default().released += u64::from(*owner != pid);
            *owner = pid;
        }
        self.emit(EventKind::Moved { hold, owner: OwnerId::Process(process(pid)) });
    }

    fn totals(&mut self, pid: u32) {
        let Some(&totals) = self.totals.get(&pid) else { return };
        let owner = OwnerId::Process(process(pid));
        self.emit(EventKind::Totals { owner, protocol: Protocol::Tcp, totals, netns: None });
    }

    fn flush(&mut self) {
        std::mem::take(&mut self.late).into_iter().for_each(|kind| self.emit(kind));
    }

    /// After a loss the source lists what is held, and says the totals of every owner.
    fn end(&mut self) -> Summary {
        self.flush();
        self.emit(EventKind::ResyncBegan);
        for (pid, acquired) in self.live.values().cloned().collect::<Vec<_>>() {
            let owner = OwnerId::Process(process(pid));
            self.emit(EventKind::Confirmed(Acquired { owner, ..acquired }));
        }
        self.now_ns += 1;
        self.emit(EventKind::ResyncEnded);
        for pid in self.totals.keys().copied().collect::<Vec<_>>() {
            self.totals(pid);
        }
        self.engine.summary(self.now_ns)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    InTime,
    Late,
    Lost,
}

#[derive(Clone, Debug)]
enum Step {
    Name(u32),
    Acquire(u32, Fate),
    Release(usize, Fate, bool),
    Move(usize, u32),
    Exit(u32),
    Totals(u32),
    Flush,
    Second,
}

fn steps(moves: bool) -> impl Strategy<Value = Vec<Step>> {
    let pid = || 1u32..30;
    let fate = || prop_oneof![6 => Just(Fate::InTime), 2 => Just(Fate::Late), 2 => Just(Fate::Lost)];
    let step = prop_oneof![
        3 => pid().prop_map(Step::Name),
        12 => (pid(), fate()).prop_map(|(pid, fate)| Step::Acquire(pid, fate)),
        8 => (any::<usize>(), fate(), any::<bool>()).prop_map(|(at, fate, wait)| Step::Release(at, fate, wait)),
        2 => (any::<usize>(), pid()).prop_map(move |(at, pid)| if moves { Step::Move(at, pid) } else { Step::Totals(pid) }),
        2 => pid().prop_map(Step::Exit),
        4 => pid().prop_map(Step::Totals),
        2 => Just(Step::Flush),
        1 => Just(Step::Second),
    ];
    prop::collection::vec(step, 0..300)
}

/// Takes the steps; with `exact` every event arrives in time.
fn play(machine: &mut Machine, steps: &[Step], exact: bool) {
    let fate = |fate: Fate| if exact { Fate::InTime } else { fate };
    for step in steps {
        machine.now_ns += 1_000_000;
        match *step {
            Step::Name(pid) => machine.name(pid),
            Step::Acquire(pid, how) => machine.acquire(pid, fate(how)),
            Step::Release(at, how, time_wait) => machine.release(at, fate(how), time_wait),
            Step::Move(at, pid) => machine.move_to(at, pid),
            Step::Exit(pid) => machine.emit(EventKind::Exited { id: process(pid) }),
            Step::Totals(pid) => machine.totals(pid),
            Step::Flush => machine.flush(),
            Step::Second => machine.now_ns += SECOND_NS,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn with_losses_and_late_totals_the_sums_are_the_truth(steps in steps(false), owners in 1usize..12) {
        let mut machine = Machine::new(limits(owners));
        play(&mut machine, &steps, false);
        let summary = machine.end();
        let [acquired, released, held, _] = sums(&summary);
        prop_assert_eq!([acquired, released, held], [machine.acquired, machine.released, machine.live.len() as u64]);
    }

    #[test]
    fn with_moves_the_sums_are_the_truth(steps in steps(true), owners in 1usize..12) {
        let mut machine = Machine::new(limits(owners));
        play(&mut machine, &steps, true);
        let time_waits = machine.engine.summary(machine.now_ns).pools.iter().map(|pool| pool.time_wait).sum::<u64>();
        let summary = machine.end();
        prop_assert_eq!(sums(&summary), [machine.acquired, machine.released, machine.live.len() as u64, time_waits]);
    }

    #[test]
    fn nothing_is_kept_beyond_the_limits(steps in steps(true), owners in 1usize..12) {
        let small = Limits { folded_ended: 3, folded_live: 3, ..limits(owners) };
        let mut machine = Machine::new(small);
        play(&mut machine, &steps, true);
        let most = owners + 3 + 2 + 2; // Programs, remainders of programs, unowned and the remainder of all.
        prop_assert!(machine.engine.owners.iter().count() <= most);
    }
}

/// 2,000 processes take a port each and end.
#[test]
fn short_lived_processes_go_into_the_remainder_of_their_program() {
    let mut machine = Machine::new(Limits { owners: 100, ended: 50, ..Limits::default() });
    for pid in 1..=2_000 {
        machine.name(pid * 5);
        machine.acquire(pid * 5, Fate::InTime);
        machine.release(0, Fate::InTime, false);
        machine.emit(EventKind::Exited { id: process(pid * 5) });
        machine.now_ns += 10_000_000;
    }
    let summary = machine.end();
    assert_eq!(sums(&summary), [2_000, 2_000, 0, 0]);
    assert_eq!((summary.owners.len(), summary.folded), (51, 1_950));
    let others = ProgramId { exe: "/bin/program-0".into(), service: None };
    let others = summary.owners.iter().find(|owner| owner.owner.id == OwnerId::Others(Some(others.clone())));
    let others = others.unwrap();
    assert_eq!((others.tcp.acquired, others.lifetime.count, others.verdict), (1_950, 1_950, Verdict::Clean));
}

#[test]
fn a_folded_owner_that_acquires_again_takes_back_what_it_holds() {
    let mut machine = Machine::new(Limits { owners: 2, ..Limits::default() });
    machine.name(1);
    machine.acquire(1, Fate::InTime);
    machine.acquire(1, Fate::InTime);
    machine.release(0, Fate::InTime, false);
    machine.acquire(2, Fate::InTime);
    machine.acquire(3, Fate::InTime);
    let held = |machine: &Machine, pid| {
        let summary = machine.engine.summary(machine.now_ns);
        let id = OwnerId::Process(process(pid));
        summary.owners.iter().find(|owner| owner.owner.id == id).map(|owner| owner.tcp.held)
    };
    assert_eq!((held(&machine, 1), held(&machine, 3)), (None, Some(1)));
    machine.acquire(1, Fate::InTime);
    assert_eq!((held(&machine, 1), held(&machine, 2)), (Some(2), None));
    let summary = machine.end();
    assert_eq!(sums(&summary), [5, 1, 4, 0]);
}

#[test]
fn an_owner_with_a_verdict_goes_last() {
    let mut script = Script::default();
    script.name(0.0, 1, "leaky");
    script.each(10.0, 0.0, 120.0, |script, second| _ = script.acquire(second, 1));
    script.each(10.0, 120.0, 140.0, |script, second| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a test's pid")]
        let pid = 1_000 + (second * 10.0) as u32;
        script.name(second, pid, "short");
        script.connection(second, pid, 0.01);
    });
    script.events.sort_by_key(|event| event.at_ns);
    let mut engine = engine(Limits { owners: 10, ..Limits::default() });
    script.events.iter().for_each(|event| engine.apply(event));
    let summary = engine.summary(START_NS + 141 * SECOND_NS);
    assert_eq!(
        (&summary.owners[0].owner.id, summary.owners[0].verdict),
        (&OwnerId::Process(process(1)), Verdict::Leak)
    );
    assert_eq!((summary.owners[0].tcp.held, summary.folded), (1_200, 191));
}

/// 4,097 programs come and go; then the processes of one more leak together.
#[test]
fn a_program_leak_is_found_after_any_number_of_programs() {
    let mut script = Script::default();
    let named = |script: &mut Script, second: f64, pid: u32, exe: String| {
        let facts = ProcessFacts { comm: "p".into(), exe: Some(exe.into()), ..ProcessFacts::default() };
        script.at(second, EventKind::Process { id: process(pid), facts });
    };
    for pid in 1..=4_097u32 {
        let second = f64::from(pid) / 100.0;
        named(&mut script, second, pid, format!("/bin/{pid}"));
        script.connection(second, pid, 0.01);
        script.at(second + 0.1, EventKind::Exited { id: process(pid) });
    }
    script.each(1.0, 50.0, 350.0, |script, second| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a test's pid")]
        let pid = 10_000 + second as u32;
        named(script, second, pid, "/bin/leaky".to_owned());
        script.acquire(second, pid);
    });
    let outcome = script.run(Profile::Session, 350.0);
    let leaks = |finding: &Finding| {
        matches!(finding, Finding::Verdict { owner, verdict: Verdict::Leak, .. }
            if matches!(&owner.id, OwnerId::Program(id) if &*id.exe == "/bin/leaky"))
    };
    assert!(outcome.findings.iter().any(leaks));
}
