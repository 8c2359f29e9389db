//! Plays a run: the events of its behaviours in order of time, as a source would tell them.

use super::kinds::Run;
use super::rng::Rng;
use super::traffic::{Actor, Clockwork, Fate};
use portleak::event::{
    Acquired, Event, EventKind, Frame, HoldId, LossStage, NetNs, OwnerId, PoolId, PortRange, ProcessFacts,
    ProcessId, Protocol, SiteId, SocketState,
};
use rustc_hash::FxHashMap;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU64;

pub const SECOND_NS: u64 = 1_000_000_000;
/// Ports that the pool has: Linux's default range.
pub const USABLE: u32 = 28_232;
const TIME_WAIT_S: f64 = 60.0;
const NETNS: NetNs = NetNs(1);
/// Pids of processes that live for one connection begin here.
const EACH_FIRST: u32 = 100_000;

/// What listens to a run.
pub trait Listener {
    /// Something happened.
    fn event(&mut self, event: &Event);
    /// A second has gone by, the first being 1; gives the holds whose idleness is asked for.
    fn second(&mut self, second: u32, levels: &Levels) -> Vec<HoldId>;
    /// Whether there is no need to go on.
    fn is_done(&self) -> bool;
}

/// How many ports are in use: what a poller sees.
#[derive(Clone, Debug, Default)]
pub struct Levels {
    pub held: u64,
    pub time_wait: u64,
    pub by_pid: FxHashMap<u32, u64>,
    /// Ports that the leak holds.
    pub leaked: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Birth(usize),
    PeerCloses(u64),
    End(u64),
    TimeWaitEnd(u64),
}

struct Live {
    born_s: f64,
    pid: u32,
    behaviour: usize,
    state: SocketState,
}

struct Player<'a> {
    run: &'a Run,
    rng: Rng,
    due: BinaryHeap<Reverse<(u64, Due)>>,
    births: Vec<(Clockwork, Rng)>,
    live: FxHashMap<u64, Live>,
    levels: Levels,
    next_hold: u64,
    next_pid: u32,
    lost: u64,
    /// Whether tracing has begun.
    attached: bool,
}

/// Plays it to the end, or until the listener has heard enough.
pub fn play(run: &Run, seed: u64, answers: bool, listener: &mut impl Listener) {
    let mut player = Player::new(run, seed);
    let end = seconds_of(run.seconds);
    for second in 1..=end {
        player.until(u64::from(second) * SECOND_NS, listener);
        if f64::from(second) < run.attach_s {
            continue;
        }
        if !player.attached {
            player.attach(u64::from(second) * SECOND_NS, listener);
        }
        let asked = listener.second(second, &player.levels);
        if listener.is_done() {
            return;
        }
        player.answer(second, &asked, answers, listener);
        player.mend(second, listener);
    }
}

impl<'a> Player<'a> {
    fn new(run: &'a Run, seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x5eed);
        let births = run.behaviours.iter().map(|one| (Clockwork::new(one), rng.fork())).collect();
        let mut player = Self {
            run,
            rng,
            due: BinaryHeap::new(),
            births,
            live: FxHashMap::default(),
            levels: Levels::default(),
            next_hold: 1,
            next_pid: EACH_FIRST,
            lost: 0,
            attached: false,
        };
        (0..run.behaviours.len()).for_each(|behaviour| player.expect(behaviour));
        player
    }

    /// The next birth of a behaviour becomes due.
    fn expect(&mut self, behaviour: usize) {
        let (clockwork, rng) = &mut self.births[behaviour];
        if let Some(at_s) = clockwork.next(rng) {
            self.due.push(Reverse((nanoseconds(at_s), Due::Birth(behaviour))));
        }
    }

    fn until(&mut self, to_ns: u64, listener: &mut impl Listener) {
        while let Some(&Reverse((at_ns, due))) = self.due.peek()
            && at_ns < to_ns
        {
            self.due.pop();
            match due {
                Due::Birth(behaviour) => {
                    self.expect(behaviour);
                    self.begin(behaviour, at_ns, listener);
                }
                Due::PeerCloses(hold) => self.peer_closes(hold, at_ns, listener),
                Due::End(hold) => self.end(hold, at_ns, listener),
                Due::TimeWaitEnd(hold) => {
                    self.levels.time_wait -= 1;
                    self.tell(at_ns, EventKind::TimeWaitEnded { hold: HoldId(hold) }, listener);
                }
            }
        }
    }

    fn begin(&mut self, index: usize, at_ns: u64, listener: &mut impl Listener) {
        let behaviour = &self.run.behaviours[index];
        let at_s = at_ns as f64 / SECOND_NS as f64;
        let (actor, fate, life) = (behaviour.actor, behaviour.fate, behaviour.life);
        let leak = behaviour.leak;
        let lives_s = life.draw(&mut self.births[index].1);
        // An error path leaks from the run's beginning of the leak on; before, all is well.
        if leak && self.run.attach_s < self.leak_s() && at_s < self.leak_s() {
            return;
        }
        let pid = match actor {
            Actor::Process(number) => number,
            Actor::System => 0,
            Actor::Each(program) | Actor::Leaving(program) => {
                let id = process(self.next_pid);
                self.next_pid += 1;
                self.tell_always(at_ns, EventKind::Process { id, facts: facts(program) }, listener);
                id.pid
            }
        };
        let hold = self.next_hold;
        self.next_hold += 1;
        let state = match fate {
            Fate::Connecting => SocketState::SynSent,
            Fate::Bound => SocketState::Bound,
            Fate::Plain | Fate::PeerCloses(_) | Fate::TimeWait => SocketState::Connected,
        };
        self.live.insert(hold, Live { born_s: at_s, pid, behaviour: index, state });
        self.levels.held += 1;
        self.levels.leaked += u64::from(leak);
        *self.levels.by_pid.entry(pid).or_default() += 1;
        let acquired = self.acquired(hold, false);
        self.tell(at_ns, EventKind::Acquired(acquired), listener);
        if lives_s.is_finite() {
            self.due.push(Reverse((nanoseconds(at_s + lives_s), Due::End(hold))));
        } else if let Actor::Leaving(_) = actor {
            self.tell_always(
                at_ns,
                EventKind::Moved { hold: HoldId(hold), owner: OwnerId::Unowned },
                listener,
            );
            self.tell_always(at_ns, EventKind::Exited { id: process(pid) }, listener);
        }
        if let Fate::PeerCloses(after_s) = fate {
            self.due.push(Reverse((nanoseconds(at_s + after_s), Due::PeerCloses(hold))));
        }
    }

    fn leak_s(&self) -> f64 {
        self.run.leak_s.unwrap_or(0.0)
    }

    fn peer_closes(&mut self, hold: u64, at_ns: u64, listener: &mut impl Listener) {
        if let Some(live) = self.live.get_mut(&hold) {
            live.state = SocketState::CloseWait;
            let (hold, state) = (HoldId(hold), SocketState::CloseWait);
            self.tell(at_ns, EventKind::State { hold, state, remote: None }, listener);
        }
    }

    fn end(&mut self, hold: u64, at_ns: u64, listener: &mut impl Listener) {
        let Some(live) = self.live.remove(&hold) else {
            return;
        };
        let behaviour = &self.run.behaviours[live.behaviour];
        let (actor, fate) = (behaviour.actor, behaviour.fate);
        self.levels.held -= 1;
        if let Some(held) = self.levels.by_pid.get_mut(&live.pid) {
            *held -= 1;
            if *held == 0 {
                self.levels.by_pid.remove(&live.pid);
            }
        }
        if fate == Fate::TimeWait {
            self.levels.time_wait += 1;
            self.tell(at_ns, EventKind::TimeWaitBegan { hold: HoldId(hold) }, listener);
            self.due.push(Reverse((at_ns + nanoseconds(TIME_WAIT_S), Due::TimeWaitEnd(hold))));
        }
        self.tell(at_ns, EventKind::Released { hold: HoldId(hold) }, listener);
        if let Actor::Each(_) = actor {
            self.tell_always(at_ns, EventKind::Exited { id: process(live.pid) }, listener);
        }
    }

    /// Tells an event, unless it gets lost.
    fn tell(&mut self, at_ns: u64, kind: EventKind, listener: &mut impl Listener) {
        if self.attached && self.run.loss > 0.0 && self.rng.chance(self.run.loss) {
            self.lost += 1;
            return;
        }
        self.tell_always(at_ns, kind, listener);
    }

    fn tell_always(&mut self, at_ns: u64, kind: EventKind, listener: &mut impl Listener) {
        if self.attached || self.run.attach_s == 0.0 {
            self.attach(at_ns, listener);
            listener.event(&Event { at_ns, kind });
        }
    }

    /// Tracing begins: names, pools, and what is held already.
    fn attach(&mut self, at_ns: u64, listener: &mut impl Listener) {
        if std::mem::replace(&mut self.attached, true) {
            return;
        }
        let mut tell = |kind| listener.event(&Event { at_ns, kind });
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let range = PortRange { low: 32_768, high: 60_999, reserved: 0 };
            tell(EventKind::Pool { pool: PoolId { netns: NETNS, protocol }, range });
        }
        for behaviour in &self.run.behaviours {
            if let Actor::Process(number) = behaviour.actor {
                tell(EventKind::Process { id: process(number), facts: facts(number) });
            }
            if let Some(id) = site(behaviour.site) {
                let frames = [Frame::Address(id.0.get())].into();
                tell(EventKind::Site { id, frames });
            }
        }
        let mut before: Vec<u64> = self.live.keys().copied().collect();
        before.sort_unstable();
        for hold in before {
            let acquired = self.acquired(hold, true);
            listener.event(&Event { at_ns, kind: EventKind::Acquired(acquired) });
        }
    }

    /// Answers for how long holds have been idle.
    fn answer(&mut self, second: u32, asked: &[HoldId], answers: bool, listener: &mut impl Listener) {
        let at_ns = u64::from(second) * SECOND_NS + 100_000_000;
        self.until(at_ns, listener);
        for &hold in asked {
            let Some(live) = self.live.get(&hold.0) else {
                continue;
            };
            let behaviour = &self.run.behaviours[live.behaviour];
            if !answers || behaviour.udp {
                continue; // Linux does not know it of UDP.
            }
            let age_s = (f64::from(second) - live.born_s).max(0.0);
            let idle_ns = nanoseconds(behaviour.usage.idle_s(age_s, &mut self.rng));
            listener.event(&Event { at_ns, kind: EventKind::Idle { hold, idle_ns } });
        }
    }

    /// After a loss the source tells how much was lost, and all that is held.
    fn mend(&mut self, second: u32, listener: &mut impl Listener) {
        if self.lost == 0 {
            return;
        }
        let at_ns = u64::from(second) * SECOND_NS + 150_000_000;
        self.until(at_ns, listener);
        let count = std::mem::take(&mut self.lost);
        let mut tell = |kind| listener.event(&Event { at_ns, kind });
        tell(EventKind::Lost { count, stage: LossStage::Kernel });
        tell(EventKind::ResyncBegan);
        let mut live: Vec<u64> = self.live.keys().copied().collect();
        live.sort_unstable();
        for hold in live {
            tell(EventKind::Confirmed(self.acquired(hold, false)));
        }
        tell(EventKind::ResyncEnded);
    }

    fn acquired(&self, hold: u64, pre_existing: bool) -> Acquired {
        let live = &self.live[&hold];
        let behaviour = &self.run.behaviours[live.behaviour];
        let protocol = if behaviour.udp { Protocol::Udp } else { Protocol::Tcp };
        let owner = match behaviour.actor {
            Actor::System => OwnerId::System { module: Some("wireguard".into()), netns: NETNS },
            _ => OwnerId::Process(process(live.pid)),
        };
        let server = u16::try_from(1_000 + behaviour.server).unwrap_or(u16::MAX);
        let remote = SocketAddr::from((Ipv4Addr::new(10, 0, 0, 1), server));
        Acquired {
            hold: HoldId(hold),
            owner,
            pool: PoolId { netns: NETNS, protocol },
            range: None,
            pre_existing,
            local: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            port: u16::try_from(32_768 + hold % u64::from(USABLE)).ok(),
            remote: (behaviour.fate != Fate::Bound).then_some(remote),
            state: live.state,
            site: site(behaviour.site),
        }
    }
}

fn site(number: u32) -> Option<SiteId> {
    NonZeroU64::new(u64::from(number)).map(SiteId)
}

fn process(pid: u32) -> ProcessId {
    ProcessId { pid, started_ticks: u64::from(pid) }
}

fn facts(program: u32) -> ProcessFacts {
    let exe = Some(format!("/usr/bin/program-{program}").into());
    ProcessFacts { comm: format!("program-{program}").into(), exe, ..ProcessFacts::default() }
}

fn seconds_of(seconds: f64) -> u32 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "hours at most")]
    let whole = seconds as u32;
    whole
}

fn nanoseconds(seconds: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a positive time")]
    let ns = (seconds * SECOND_NS as f64) as u64;
    ns
}
