//! The labelled kinds of traffic: healthy ones and leaks.
//!
//! Each is drawn anew for every seed. Every fourth seed is as named, the others have their rates
//! and lifetimes scaled, each by a factor between 0.3 and 3 (log-uniform).

use super::rng::Rng;
use super::traffic::{Actor, Behaviour, Births, Fate, Life, Use};

/// How long and how.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// Length of the run.
    pub seconds: f64,
    /// When leaks and pools begin.
    pub begin: f64,
}

/// One run, and the truth about it.
#[derive(Clone, Debug)]
pub struct Run {
    pub behaviours: Vec<Behaviour>,
    /// When the leak begins (or tracing, if that is later); `None` when there is none.
    pub leak_s: Option<f64>,
    /// Whether it is as named: neither scaled nor otherwise varied.
    pub nominal: bool,
    /// When tracing begins.
    pub attach_s: f64,
    /// The share of events that is lost.
    pub loss: f64,
    pub seconds: f64,
}

/// A kind: its name and how a run of it is drawn.
pub struct Kind {
    pub name: &'static str,
    pub leaks: bool,
    /// Only one seed of so many: it has too many events.
    pub one_of: u64,
    draw: fn(&mut Draw) -> Vec<Behaviour>,
}

/// What a kind is drawn with.
struct Draw {
    rng: Rng,
    frame: Frame,
    /// Factors of rates, lifetimes and numbers.
    rate: f64,
    life: f64,
    attach_s: f64,
}

impl Draw {
    fn poisson(&self, rate: f64) -> Births {
        Births::Poisson(rate * self.rate)
    }

    fn pool(&mut self, size: u32, within: f64) -> Behaviour {
        // Only so many members, for a long time, because all the others are busy.
        let births = Births::Pool(size, within / self.rate);
        let mut pool = Behaviour::new(births, Life::Exp(5400.0 * self.life.max(1.0)));
        pool.usage = Use::Busy(self.rng.scale(0.2, 10.0));
        pool.from_s = self.frame.begin;
        pool
    }

    fn leak(&self, births: Births) -> Behaviour {
        let mut leak = Behaviour::new(births, Life::Never);
        leak.usage = Use::Once(0.5);
        leak.from_s = self.frame.begin;
        leak.site = 2;
        leak.leak = true;
        leak
    }

    /// Connections that end, of which from the beginning of the leak on a share does not.
    fn error_path(&self, births: impl Fn(f64) -> Births, life: Life, share: f64) -> Vec<Behaviour> {
        let healthy = Behaviour::new(births(1.0), life);
        let mut leak = self.leak(births(share));
        leak.from_s = 0.0;
        leak.until_s = self.frame.seconds;
        // A wave keeps its phase; what comes before the beginning is left out by the player.
        vec![healthy, leak]
    }

    /// Small healthy programs, all sorts.
    fn crowd(&mut self, first: u32, count: u32) -> Vec<Behaviour> {
        (first..first + count).map(|number| self.bystander(number)).collect()
    }

    fn bystander(&mut self, number: u32) -> Behaviour {
        let rng = &mut self.rng;
        let rate = rng.scale(0.01, 1.0);
        let mut one = match rng.below(6) {
            0 => Behaviour::new(Births::Poisson(rate), Life::LogNormal(rng.scale(0.05, 5.0), 1.0)),
            1 => Behaviour::new(Births::Poisson(rate), Life::Exp(rng.scale(0.1, 60.0))),
            2 => Behaviour::new(Births::Pool(1 + rng.below(40), rng.scale(1.0, 600.0)), Life::Exp(7200.0)),
            3 => Behaviour::new(Births::Bursts(1 + rng.below(30), rng.scale(30.0, 600.0)), Life::Gamma(5.0)),
            4 => Behaviour::new(Births::Poisson(rate.min(0.1)), Life::Uniform(1.0, 120.0)),
            _ => Behaviour::new(Births::Every(1.0 / rate), Life::Fixed(rng.scale(0.1, 10.0))),
        };
        one.usage = Use::Busy(rng.scale(0.5, 20.0));
        one.actor = Actor::Process(number);
        one.server = number;
        one.site = number;
        one
    }
}

/// All kinds, healthy ones first.
pub const KINDS: &[Kind] = &[
    healthy("churn 50/s, 50 ms", |d| vec![Behaviour::new(d.poisson(50.0), Life::Exp(0.05 * d.life))]),
    healthy("pool of 200 in 60 s", |d| {
        let mut pool = d.pool(200, 60.0);
        if d.rng.chance(0.25) {
            pool.usage = Use::Once(0.1); // Opened ahead, for nobody yet.
        }
        vec![pool]
    }),
    healthy("pool of 2,000 in 5 min", |d| vec![d.pool(2_000, 300.0)]),
    healthy("daily wave 5-100/s, 2 s", |d| {
        let wave = Births::Wave(5.0 * d.rate, 100.0 * d.rate, d.frame.seconds);
        vec![Behaviour::new(wave, Life::LogNormal(2.0 * d.life, 1.0))]
    }),
    healthy("ramp 1-20/s, 60 s", |d| {
        let ramp = Births::Ramp(d.rate, 20.0 * d.rate, d.frame.seconds);
        vec![Behaviour::new(ramp, Life::LogNormal(45.0 * d.life, 0.75))]
    }),
    healthy("bursts of 500 in 5 min, 20 s", |d| {
        let bursts = Births::Bursts(scaled(500.0 * d.rate), 300.0);
        vec![Behaviour::new(bursts, Life::Gamma(20.0 * d.life))]
    }),
    healthy("keep-alive 0.1/s, 30 min", |d| {
        let mut kept = Behaviour::new(d.poisson(0.1), Life::Exp(1_800.0 * d.life));
        kept.usage = Use::Busy(d.rng.scale(5.0, 60.0));
        vec![kept]
    }),
    healthy("websockets 1/s, 10 min", |d| {
        let mut sockets = Behaviour::new(d.poisson(1.0), Life::Exp(600.0 * d.life));
        sockets.usage = Use::Busy(d.rng.scale(10.0, 40.0));
        vec![sockets]
    }),
    Kind {
        one_of: 5,
        ..healthy("TIME_WAIT 400/s, 5 ms", |d| {
            let mut churn = Behaviour::new(d.poisson(400.0), Life::Exp(0.005 * d.life));
            churn.fate = Fate::TimeWait;
            vec![churn]
        })
    },
    healthy("two sorts 20/s, 1 % 5 min", |d| {
        let mut long = Behaviour::new(d.poisson(0.2), Life::Exp(300.0 * d.life));
        long.usage = Use::Busy(d.rng.scale(1.0, 20.0));
        vec![Behaviour::new(d.poisson(19.8), Life::Exp(0.5 * d.life)), long]
    }),
    healthy("heavy tail 10/s", |d| vec![Behaviour::new(d.poisson(10.0), Life::Pareto(0.2 * d.life, 1.2))]),
    healthy("proxy 5/s, 1-300 s", |d| {
        let mut proxy = Behaviour::new(d.poisson(5.0), Life::Uniform(d.life, 300.0 * d.life));
        proxy.usage = Use::Busy(d.rng.scale(1.0, 20.0));
        vec![proxy]
    }),
    healthy("short-lived processes 2/s", |d| {
        let mut each = Behaviour::new(d.poisson(2.0), Life::LogNormal(d.life, 1.0));
        each.actor = Actor::Each(1);
        vec![each]
    }),
    healthy("server that does not answer", |d| {
        let mut tries = Behaviour::new(d.poisson(0.2), Life::Fixed(127.0));
        tries.fate = Fate::Connecting;
        tries.usage = Use::Once(0.0);
        vec![tries]
    }),
    healthy("pool whose server restarts", |d| {
        // The peer closes all at once; the pool notices when it uses them again.
        let mut pool = d.pool(40, 20.0);
        pool.births = Births::Bursts(40, 1_200.0);
        pool.life = Life::Uniform(300.0, 900.0);
        pool.fate = Fate::PeerCloses(200.0);
        vec![Behaviour::new(d.poisson(5.0), Life::LogNormal(0.2 * d.life, 1.0)), pool]
    }),
    healthy("UDP look-ups 20/s", |d| {
        let mut look_ups = Behaviour::new(d.poisson(20.0), Life::LogNormal(0.02 * d.life, 1.0));
        look_ups.udp = true;
        look_ups.fate = Fate::Bound;
        vec![look_ups]
    }),
    healthy("attached late to a pool", |d| {
        d.attach_s = d.frame.begin / 2.0;
        let mut pool = d.pool(500, 60.0);
        pool.from_s = 0.0;
        pool.life = Life::Exp(1_800.0);
        let mut renewed = Behaviour::new(d.poisson(500.0 / 1_800.0), Life::Exp(1_800.0 * d.life));
        renewed.usage = pool.usage;
        vec![pool, renewed]
    }),
    healthy("1 to 200 programs", |d| {
        let count = scaled(d.rng.scale(1.0, 200.0));
        d.crowd(1, count)
    }),
    leak("total 20/s", |d| vec![d.leak(d.poisson(20.0))]),
    leak("total 200/s", |d| vec![d.leak(d.poisson(200.0))]),
    leak("partial 2 % of 20/s", |d| {
        d.error_path(|share| d.poisson(20.0 * share), Life::LogNormal(0.3 * d.life, 1.0), 0.02)
    }),
    leak("partial 0.2 % of 50/s", |d| {
        d.error_path(|share| d.poisson(50.0 * share), Life::LogNormal(0.3 * d.life, 1.0), 0.002)
    }),
    leak("partial 1 % of a daily wave", |d| {
        let wave = |share| Births::Wave(5.0 * d.rate * share, 100.0 * d.rate * share, d.frame.seconds);
        d.error_path(wave, Life::LogNormal(2.0 * d.life, 1.0), 0.01)
    }),
    leak("CLOSE_WAIT 1 % of 20/s", |d| {
        let mut all = d.error_path(|share| d.poisson(20.0 * share), Life::LogNormal(0.3 * d.life, 1.0), 0.01);
        all[1].fate = Fate::PeerCloses(0.3 * d.life);
        all
    }),
    leak("SYN_SENT 1 in 5 s", |d| {
        let mut stuck = d.leak(d.poisson(0.2));
        stuck.fate = Fate::Connecting;
        vec![Behaviour::new(d.poisson(5.0), Life::LogNormal(0.3 * d.life, 1.0)), stuck]
    }),
    leak("bound 6/min", |d| {
        let mut bound = d.leak(d.poisson(0.1));
        bound.fate = Fate::Bound;
        vec![bound]
    }),
    leak("slow 1/min", |d| vec![d.leak(Births::Every(60.0 / d.rate))]),
    leak("slow 1/min in 20/s", |d| {
        let churn = Behaviour::new(d.poisson(20.0), Life::LogNormal(0.2 * d.life, 1.0));
        vec![churn, d.leak(Births::Every(60.0 / d.rate))]
    }),
    leak("10/min beside a pool of 200", |d| {
        let mut pool = d.pool(200, 60.0);
        pool.from_s = 0.0;
        pool.life = Life::Never;
        vec![pool, d.leak(d.poisson(10.0 / 60.0))]
    }),
    leak("processes that pile up 20/min", |d| {
        let mut piling = d.leak(d.poisson(1.0 / 3.0));
        piling.actor = Actor::Each(1);
        vec![piling]
    }),
    leak("left behind by processes 20/min", |d| {
        let mut healthy = Behaviour::new(d.poisson(2.0), Life::LogNormal(d.life, 1.0));
        healthy.actor = Actor::Each(1);
        let mut left = d.leak(d.poisson(1.0 / 3.0));
        left.actor = Actor::Leaving(1);
        vec![healthy, left]
    }),
    leak("System module 1/s, UDP", |d| {
        let mut system = d.leak(d.poisson(1.0));
        system.actor = Actor::System;
        system.udp = true;
        vec![system]
    }),
    leak("UDP 5/s", |d| {
        let mut udp = d.leak(d.poisson(5.0));
        udp.udp = true;
        vec![udp]
    }),
    leak("attached late to 2/s", |d| {
        d.attach_s = d.frame.begin;
        let mut late = d.leak(d.poisson(2.0));
        late.from_s = 0.0;
        vec![Behaviour::new(d.poisson(10.0), Life::LogNormal(0.3 * d.life, 1.0)), late]
    }),
    leak("one of 2 to 200 programs, 2/s", |d| {
        let count = scaled(d.rng.scale(1.0, 199.0));
        let mut all = d.crowd(2, count);
        all.push(d.leak(d.poisson(2.0)));
        all
    }),
];

const fn healthy(name: &'static str, draw: fn(&mut Draw) -> Vec<Behaviour>) -> Kind {
    Kind { name, leaks: false, one_of: 1, draw }
}

const fn leak(name: &'static str, draw: fn(&mut Draw) -> Vec<Behaviour>) -> Kind {
    Kind { name, leaks: true, one_of: 1, draw }
}

impl Kind {
    /// The run of one seed.
    pub fn run(&self, seed: u64, frame: Frame) -> Run {
        let salt =
            self.name.bytes().fold(0u64, |salt, byte| salt.wrapping_mul(31).wrapping_add(u64::from(byte)));
        let mut rng = Rng::new(seed ^ salt);
        let nominal = seed.is_multiple_of(4);
        let mut factor = || if nominal { 1.0 } else { rng.scale(0.3, 3.0) };
        let (rate, life) = (factor(), factor());
        let loss = if nominal || rng.chance(0.75) { 0.0 } else { [0.01, 0.1][rng.below(2) as usize] };
        let mut draw = Draw { rng, frame, rate, life, attach_s: 0.0 };
        let mut behaviours = (self.draw)(&mut draw);
        // A leak of an error path runs with its healthy part and leaks from the beginning on.
        behaviours.iter_mut().filter(|one| one.leak).for_each(|one| one.site = 2);
        let leak_s = self.leaks.then(|| frame.begin.max(draw.attach_s));
        Run { behaviours, leak_s, nominal, attach_s: draw.attach_s, loss, seconds: frame.seconds }
    }
}

fn scaled(number: f64) -> u32 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small positive number")]
    let whole = number.round() as u32;
    whole.max(1)
}
