//! What programs do with ports: when they take one, how long they keep it, and what they do with it.

use super::rng::Rng;

/// When connections begin, in seconds of the run.
#[derive(Clone, Debug)]
pub enum Births {
    /// At random, so many a second.
    Poisson(f64),
    /// At random, more and fewer in turn: lowest and highest rate, and the period.
    Wave(f64, f64, f64),
    /// At random, from one rate at the start to another after so many seconds.
    Ramp(f64, f64, f64),
    /// One every so many seconds, give or take a sixth.
    Every(f64),
    /// So many at once (within two seconds) every so many seconds.
    Bursts(u32, f64),
    /// So many, spread at random over so many seconds; then no more.
    Pool(u32, f64),
}

/// How long a connection lives, in seconds.
#[derive(Clone, Copy, Debug)]
pub enum Life {
    /// For ever.
    Never,
    /// Exactly.
    Fixed(f64),
    /// Exponential: mean.
    Exp(f64),
    /// Log-normal: median and sigma.
    LogNormal(f64, f64),
    /// Evenly between two.
    Uniform(f64, f64),
    /// Pareto: shortest and exponent.
    Pareto(f64, f64),
    /// Sum of four exponentials: mean of the sum.
    Gamma(f64),
}

impl Life {
    /// One lifetime.
    pub fn draw(self, rng: &mut Rng) -> f64 {
        match self {
            Self::Never => f64::INFINITY,
            Self::Fixed(s) => s,
            Self::Exp(mean) => rng.exponential(mean),
            Self::LogNormal(median, sigma) => median * (sigma * rng.normal()).exp(),
            Self::Uniform(low, high) => rng.between(low, high),
            Self::Pareto(least, alpha) => least * rng.unit().powf(-1.0 / alpha),
            Self::Gamma(mean) => (0..4).map(|_| rng.exponential(mean / 4.0)).sum(),
        }
    }
}

/// When data last moved on a connection.
#[derive(Clone, Copy, Debug)]
pub enum Use {
    /// Now and then, so many seconds apart on average.
    Busy(f64),
    /// In its first moments only: so many seconds.
    Once(f64),
}

impl Use {
    /// For how long nothing has moved, at this age.
    pub fn idle_s(self, age_s: f64, rng: &mut Rng) -> f64 {
        match self {
            Self::Busy(apart) => rng.exponential(apart).min(age_s),
            Self::Once(first) => (age_s - first).max(0.0),
        }
    }
}

/// What happens to a connection's socket besides its end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fate {
    /// Nothing.
    Plain,
    /// It is connecting, all the time.
    Connecting,
    /// It is bound, all the time.
    Bound,
    /// The peer closes after so many seconds.
    PeerCloses(f64),
    /// It leaves a TIME_WAIT behind.
    TimeWait,
}

/// Who takes the ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    /// The process with this number.
    Process(u32),
    /// A new process of program `0` for each connection; it ends with it.
    Each(u32),
    /// A new process for each connection; it ends and leaves the connection behind, to nobody.
    Leaving(u32),
    /// A driver of the kernel.
    System,
}

/// A steady behaviour of one actor towards one destination.
#[derive(Clone, Debug)]
pub struct Behaviour {
    pub actor: Actor,
    pub births: Births,
    pub life: Life,
    pub usage: Use,
    pub fate: Fate,
    /// UDP instead of TCP.
    pub udp: bool,
    /// The call site.
    pub site: u32,
    /// Destination: number of the server.
    pub server: u32,
    /// Active between these seconds.
    pub from_s: f64,
    pub until_s: f64,
    /// Whether this is the leak.
    pub leak: bool,
}

impl Behaviour {
    /// Of process 1, to server 1, from site 1, all the time.
    pub fn new(births: Births, life: Life) -> Self {
        let (actor, usage, fate) = (Actor::Process(1), Use::Busy(1.0), Fate::Plain);
        let (from_s, until_s) = (0.0, f64::INFINITY);
        Self {
            actor,
            births,
            life,
            usage,
            fate,
            udp: false,
            site: 1,
            server: 1,
            from_s,
            until_s,
            leak: false,
        }
    }
}

/// The births of one behaviour, one after the other.
#[derive(Clone, Debug)]
pub struct Clockwork {
    births: Births,
    from_s: f64,
    until_s: f64,
    at_s: f64,
    /// Births of the present burst or pool, latest first.
    batch: Vec<f64>,
    batches: u32,
}

impl Clockwork {
    pub fn new(behaviour: &Behaviour) -> Self {
        Self {
            births: behaviour.births.clone(),
            from_s: behaviour.from_s,
            until_s: behaviour.until_s,
            at_s: behaviour.from_s,
            batch: Vec::new(),
            batches: 0,
        }
    }

    /// The next birth, unless there is none.
    pub fn next(&mut self, rng: &mut Rng) -> Option<f64> {
        let at_s = match self.births {
            Births::Poisson(rate) => self.at_s + rng.exponential(1.0 / rate),
            Births::Every(apart) => {
                self.batches += 1;
                self.from_s + apart * (f64::from(self.batches - 1) + rng.between(0.0, 1.0 / 6.0))
            }
            Births::Wave(low, high, period) => {
                let rate =
                    |t: f64| low + (high - low) * (0.5 - 0.5 * (std::f64::consts::TAU * t / period).cos());
                self.thinned(high, rate, rng)
            }
            Births::Ramp(first, last, after) => {
                let rate = |t: f64| first + (last - first) * (t / after).min(1.0);
                self.thinned(first.max(last), rate, rng)
            }
            Births::Bursts(count, apart) => {
                if self.batch.is_empty() {
                    let begin = self.from_s + apart * f64::from(self.batches);
                    self.fill(count, begin, 2.0, rng);
                }
                self.batch.pop()?
            }
            Births::Pool(count, within) => {
                if self.batches == 0 {
                    self.fill(count, self.from_s, within, rng);
                }
                self.batch.pop()?
            }
        };
        self.at_s = at_s;
        (at_s < self.until_s).then_some(at_s)
    }

    fn thinned(&self, most: f64, rate: impl Fn(f64) -> f64, rng: &mut Rng) -> f64 {
        let mut at_s = self.at_s;
        loop {
            at_s += rng.exponential(1.0 / most);
            if rng.unit() * most < rate(at_s - self.from_s) {
                return at_s;
            }
        }
    }

    fn fill(&mut self, count: u32, begin: f64, within: f64, rng: &mut Rng) {
        self.batches += 1;
        self.batch = (0..count).map(|_| rng.between(begin, begin + within)).collect();
        self.batch.sort_by(|a, b| b.total_cmp(a));
    }
}
