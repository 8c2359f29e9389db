//! What the engine concludes: findings as they happen, and the summary.

use crate::event::{
    FailureCode, Frame, LossStage, OwnerId, PoolId, PortRange, ProcessFacts, Protocol, SiteId,
};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// How sure the engine is that an owner leaks; ordered by gravity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Nothing to say.
    #[default]
    Clean,
    /// Allocation outpaces release right now. Informational.
    Growing,
    /// TIME_WAIT eats the pool. Not a leak.
    Churn,
    /// Looks like a leak; would not page yet.
    Suspected,
    /// A leak.
    Leak,
    /// An allocation of this owner failed for want of ports: it is a victim, and it may be the cause.
    Exhausted,
}

impl Verdict {
    /// The name in the JSON contract.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Growing => "growing",
            Self::Churn => "churn",
            Self::Suspected => "suspected",
            Self::Leak => "leak",
            Self::Exhausted => "exhausted",
        }
    }

    /// Whether `--fail-on-leak` counts it.
    #[must_use]
    pub fn fails(self) -> bool {
        matches!(self, Self::Suspected | Self::Leak | Self::Exhausted)
    }
}

/// What kind of leak the evidence shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LeakKind {
    /// Nothing (or next to nothing) is released.
    Total,
    /// A part is never released among normal releases: an error path.
    Partial,
    /// The peer has closed; this side never does.
    CloseWait,
    /// Connection attempts that never end.
    SynSent,
    /// A few an hour, for hours.
    Slow,
    /// Bound and never connected.
    Bound,
    /// TIME_WAIT; not a leak.
    Churn,
}

impl LeakKind {
    /// The name in the JSON contract.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::Partial => "partial",
            Self::CloseWait => "close_wait",
            Self::SynSent => "syn_sent",
            Self::Slow => "slow",
            Self::Bound => "bound",
            Self::Churn => "churn",
        }
    }
}

/// Why a verdict was given, in numbers. The output puts it into words.
#[derive(Clone, Debug, PartialEq)]
pub struct Evidence {
    /// What kind.
    pub kind: LeakKind,
    /// Which protocol.
    pub protocol: Protocol,
    /// When it began, on the source's clock.
    pub since_ns: u64,
    /// Ports that this owner holds of this kind (same protocol and destination) at this instant.
    /// For `churn`: ports in TIME_WAIT.
    pub held: u64,
    /// Growth in ports a second.
    pub rate_per_s: f64,
    /// Of the ports acquired since `since_ns`, the share that was released, 0 to 1.
    pub released_share: f64,
    /// Seconds until the destination (or pool) has no port left at this rate.
    pub exhaustion_in_s: Option<f64>,
    /// The earliest and the latest that this may be, with 90 % confidence.
    pub exhaustion_between_s: Option<(f64, f64)>,
    /// The destination, when there is one.
    pub remote: Option<SocketAddr>,
    /// How many ports the pool can hand out, if its range is known.
    pub usable: Option<u64>,
    /// The call site that has most of these ports, where stacks are taken.
    pub site: Option<SiteShare>,
    /// When the oldest port of the leak was acquired, on the source's clock.
    pub oldest_ns: Option<u64>,
    /// How the other ports of the same place live.
    pub usual: Option<Usual>,
    /// Connections on which no data has moved for most of their life, of how many that were looked
    /// at; `None` where that is not known.
    pub abandoned: Option<(u32, u32)>,
    /// Processes that the ports are of, when it is a program that leaks.
    pub processes: Option<u64>,
}

/// How ports live that are not part of a leak.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Usual {
    /// Their share of all, 0 to 1.
    pub share: f64,
    /// Half of them are released within so many seconds.
    pub life_s: f64,
}

/// A call site's share of an owner's ports of one protocol and destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteShare {
    /// Which.
    pub id: SiteId,
    /// Its stack, innermost frame first.
    pub frames: Arc<[Frame]>,
    /// Ports held that it acquired.
    pub held: u64,
    /// Ports held in all.
    pub of: u64,
}

/// An owner with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Identity.
    pub id: OwnerId,
    /// Name and so on, for processes whose facts are known.
    pub facts: Option<ProcessFacts>,
}

/// Something worth saying at once.
#[derive(Clone, Debug, PartialEq)]
pub enum Finding {
    /// An owner's verdict changed.
    Verdict {
        /// When, on the source's clock.
        at_ns: u64,
        /// Whose.
        owner: Owner,
        /// From.
        previous: Verdict,
        /// To.
        verdict: Verdict,
        /// All ports the owner holds at this instant, both protocols.
        held: u64,
        /// Why; empty when it went back to clean.
        evidence: Vec<Evidence>,
    },
    /// An allocation failed for want of ports. Repeats of the same failure are counted in the
    /// summary and told at most once a second for each owner and destination.
    Exhausted {
        /// When, on the source's clock.
        at_ns: u64,
        /// The victim.
        owner: Owner,
        /// The pool that had none.
        pool: PoolId,
        /// The error that the victim got.
        code: FailureCode,
        /// The local address asked for.
        local: Option<IpAddr>,
        /// The destination asked for.
        remote: Option<SocketAddr>,
        /// Who holds most of that pool (towards that destination, if there is one) right now.
        top_holders: Vec<(Owner, u64)>,
    },
    /// Half of the ports to a destination are used: the early warning of exhaustion. Told once,
    /// until fewer than a quarter are.
    HalfUsed {
        /// When, on the source's clock.
        at_ns: u64,
        /// Whose connect was given the first port of the second half.
        owner: Owner,
        /// Of which pool.
        pool: PoolId,
        /// The destination.
        remote: SocketAddr,
        /// Ports used towards it, TIME_WAIT included.
        used: u64,
        /// Ports there are for it.
        usable: u64,
    },
    /// A pool has no free port left, and hands out such that closing connections still refer to.
    /// Told at most once a minute for each pool.
    Scarce {
        /// When, on the source's clock.
        at_ns: u64,
        /// The pool.
        pool: PoolId,
        /// How often since it was last told.
        count: u64,
        /// Who holds most of that pool right now.
        top_holders: Vec<(Owner, u64)>,
    },
    /// Events were lost.
    Lost {
        /// When, on the source's clock.
        at_ns: u64,
        /// How many.
        count: u64,
        /// Where.
        stage: LossStage,
    },
    /// The kernel's own list of sockets showed holds to be missed or gone.
    Corrected {
        /// When, on the source's clock.
        at_ns: u64,
        /// How many.
        count: u64,
    },
}

/// Counts for one owner and protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProtocolReport {
    /// Ports acquired since tracing began.
    pub acquired: u64,
    /// Ports released since tracing began, pre-existing ones and `moved_out` included.
    pub released: u64,
    /// Of those, ports that went to another owner and were still held then.
    pub moved_out: u64,
    /// Ports that came from another owner; not in `acquired`.
    pub moved_in: u64,
    /// Ports held now.
    pub held: u64,
    /// Of those, bound and neither connected nor listening.
    pub held_bound_only: u64,
    /// Of those, in CLOSE_WAIT.
    pub close_wait: u64,
    /// Of those, connecting.
    pub syn_sent: u64,
    /// Ports in TIME_WAIT that this owner's connections left behind; not held.
    pub time_wait: u64,
    /// Allocations that failed for want of ports.
    pub failed: BTreeMap<FailureCode, u64>,
}

/// How long an owner's released ports were held, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LifetimeReport {
    /// How many releases.
    pub count: u64,
    /// Median; `None` when nothing was released.
    pub p50: Option<f64>,
    /// 90th percentile.
    pub p90: Option<f64>,
    /// 99th percentile.
    pub p99: Option<f64>,
    /// Longest.
    pub max: Option<f64>,
}

/// One owner in the summary.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnerReport {
    /// Who.
    pub owner: Owner,
    /// TCP.
    pub tcp: ProtocolReport,
    /// UDP.
    pub udp: ProtocolReport,
    /// Completed lifetimes of both protocols.
    pub lifetime: LifetimeReport,
    /// Age in seconds of the oldest port still held whose acquisition was seen.
    pub oldest_held_s: Option<f64>,
    /// The verdict now. `Exhausted` stays for the run; `Leak` goes back when it heals.
    pub verdict: Verdict,
    /// Why.
    pub evidence: Vec<Evidence>,
}

/// When no port will be left if growth goes on as it is; TIME_WAIT takes room as holds do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Forecast {
    /// Seconds until then.
    pub exhaustion_in_s: f64,
    /// The earliest and the latest that this may be, with 90 % confidence, once growth has lasted.
    pub between_s: Option<(f64, f64)>,
}

/// A destination in a pool.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DestinationReport {
    /// Where to.
    pub remote: SocketAddr,
    /// Ports used towards it, TIME_WAIT included.
    pub used: u64,
    /// Ports there are for it.
    pub usable: u64,
    /// When there are none left; `None` when it does not grow.
    pub forecast: Option<Forecast>,
}

/// One pool in the summary.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolReport {
    /// Which pool.
    pub id: PoolId,
    /// Its range; `None` when it could not be read.
    pub range: Option<PortRange>,
    /// Distinct ports held now.
    pub used: u64,
    /// The most distinct ports held at once.
    pub peak: u64,
    /// Ports in TIME_WAIT.
    pub time_wait: u64,
    /// When it is empty; `None` when it does not grow.
    pub forecast: Option<Forecast>,
    /// The busiest destinations, busiest first.
    pub destinations: Vec<DestinationReport>,
}

/// Everything at one instant.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// When, on the source's clock.
    pub at_ns: u64,
    /// How long was traced, seconds.
    pub duration_s: f64,
    /// Events applied.
    pub events: u64,
    /// Events lost, all stages.
    pub lost: u64,
    /// Holds that the kernel's list of sockets showed to be missed or gone: how inexact it was.
    pub corrections: u64,
    /// Owners that are not listed each by itself: their counts are in the remainders
    /// (`OwnerId::Others`), so that the sums are right.
    pub folded: u64,
    /// What made room for others, or found none: programs, series, call sites, pools, holds.
    pub evicted: u64,
    /// Every owner that acquired, held or failed, gravest verdict first, then by ports held.
    pub owners: Vec<OwnerReport>,
    /// Every pool.
    pub pools: Vec<PoolReport>,
}

impl Summary {
    /// The gravest verdict of any owner.
    #[must_use]
    pub fn worst(&self) -> Verdict {
        self.owners.iter().map(|o| o.verdict).max().unwrap_or_default()
    }
}

/// One line for a terminal while tracing goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Progress {
    /// Ports held now by owners in scope.
    pub held: u64,
    /// Ports acquired a second, over the last tick.
    pub acquired_per_s: f64,
    /// Events lost so far.
    pub lost: u64,
}
