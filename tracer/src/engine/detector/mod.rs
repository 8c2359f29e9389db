//! The leak detector. It tests lifetimes, not levels.
//!
//! Every second each *series* is judged: the holds of an owner to one destination, all holds of an
//! owner, and all holds of a program's processes. [`features`] measure a series and know no
//! thresholds; a [`policy`] reads them and makes the verdict, so that a second policy can judge the
//! same events (`cargo xtask evaluate --policy NAME`). This page describes
//! [`LifetimePolicy`](policy::LifetimePolicy), the policy in use. Names in `code` are fields of
//! [`Thresholds`]; where the profiles differ, the value of the session profile stands in brackets.
//!
//! # Growth of holds that stay
//!
//! A leak is a part of the holds that does not end. Load, bursts and daily waves change how many
//! ports are acquired, not how long they are held. Three questions decide:
//!
//! 1. **Do some stay?** (`survival`) A life table counts, for each age, how many holds ended at it and
//!    for how long holds of that age were watched (the exposure). The ages 4.6 s, 10 s, 22 s, …
//!    1,000 s are examined. From one of them on the mean remaining life must be long. Its lower bound
//!    with 99 % confidence (`confidence_z`) is `exposure / Gamma₉₉(ended + 1)`. At most 10 % of those
//!    that reached the age may have ended (`ended_share`). Records that are an hour old count for a
//!    third (`memory_s`).
//! 2. **Does their number grow, evenly and until now?** (`shape`) Those that stay were born all over a
//!    span that reaches to the present: each of its four parts has at least a quarter of its share.
//!    A pool that has warmed up fails here, and so does a burst.
//! 3. **Are they used?** (`idle`) A pool that warms up is a leak in every respect but one: it opens
//!    connections because the others are busy. When the answer decides, the source is asked for how
//!    long no data has moved on up to 16 of them, chosen at random. A hold that was idle for three
//!    quarters of its life is abandoned. The sample is abandoned if 80 % of it are, and used if at
//!    most 50 % are.
//!
//! The third answer selects the [`GrowthCriteria`]:
//!
//! | those that stay are | criteria | a leak when growth has taken or lasted |
//! | --- | --- | --- |
//! | abandoned | `abandoned` | 3 % (2 %) of the pool; or 60 s (40 s) where as many others ended as stay, else 600 s (220 s); slow: 720 s (220 s) |
//! | of unknown use | `unknown` | 10 % (2 %) of the pool, or 600 s (60 s) and 1,200 s (120 s) likewise, if half (1 %) of the pool will be taken; slow: 1,800 s (450 s) |
//! | partly used | `mixed` | as of unknown use in production |
//! | used | `mixed`, `in_use_pool_share` | likewise, and a quarter of the pool |
//!
//! Each criterion also asks for a number of survivors and a lower bound of their remaining life. A
//! suspicion comes after half of that growth (`suspected_share`). While half of what grows is
//! connecting, growth counts only after `syn_span_s`.
//!
//! # Growth of the last seconds
//!
//! `growing` accuses nobody: 15 more ports within 3 s, or 10 more within 30 s, until it has not been so
//! for 5 s. A suspicion comes at once when each of `fast_span_s` seconds but one adds ports, together
//! `fast_pool_share` of the pool, and at most 5 % of them were released (`fast`): with the default
//! range 15 ports in each of six seconds. It needs abandoned holds, or nobody who knows their use.
//!
//! # Sockets that stay in a state
//!
//! Three states need no statistics, because healthy programs do not leave one socket after the other
//! in them: CLOSE_WAIT (`close_wait`: 5 for 40 s; session 35 s), SYN_SENT for longer than the kernel
//! retries (`syn_sent`: 5 for 150 s), and TCP sockets that are bound and nothing else (`bound`: 8 for
//! 60 s; session 5 for 40 s). They must have entered it one after the other for 15 s
//! (`stuck_span_s`).
//!
//! # TIME_WAIT
//!
//! `churn`: 80 % of a destination's ports are used, half of them or more by TIME_WAIT. Not a leak: each
//! ends by itself.
//!
//! # When a verdict goes down
//!
//! A suspicion after a pause of `calm_span_s` (60 s; session 15 s), a leak after four times that; either
//! after half of the time that growth took, if that is longer, up to 1,800 s. When no more than half of
//! the worst is held, it is dropped after `calm_span_s` (`calm`).
//!
//! # What it cannot know
//!
//! - Connections that are idle for all of a long life are called a leak, whatever they wait for.
//! - A leak of connections on which data keeps moving counts as used.
//! - The bound of remaining life assumes a constant hazard. Holds that all end at one fixed age look
//!   immortal until they reach it.
//! - Only ages up to 1,000 s are compared, and at most 10 % may have ended: a leak among long-lived
//!   healthy holds of the same destination is found late or never.
//! - UDP has no idle times.
//!
//! # Cost and bounds
//!
//! A series in which nothing happens and none of these rules can find anything *rests*: it is not
//! visited until something happens to it, and then catches up the seconds between in one step, with
//! the same numbers. A typical series takes 1 to 2 KiB. A series with no hold, no TIME_WAIT and nothing
//! moved for a minute is dropped. When 32,768 are kept, a new one evicts a clean one: first one that
//! holds nothing, then one that rests, then a small one. Evicted series are counted in the summary.
//!
//! # Changing the numbers
//!
//! `--thresholds FILE` changes some of them; all others are the profile's:
//!
//! ```toml
//! in_use_pool_share = 0.5     # share of the pool before used connections are a leak
//!
//! [close_wait]
//! leak = 20                   # so many sockets …
//! leak_age_s = 120            # … in CLOSE_WAIT for two minutes
//!
//! [abandoned]                 # likewise [unknown] and [mixed]
//! slow_span_s = 1800          # a slow leak only after half an hour
//! ```
//!
//! `cargo xtask evaluate` measures what a change does to leaks found, delays and false verdicts.

pub mod features;
pub mod policy;
mod series;
mod thresholds;

pub(super) use series::Series;
pub use thresholds::{
    Calm, Churn, Fast, Growing, GrowthCriteria, Idle, Naming, Program, Shape, Stuck, Survival,
    ThresholdError, Thresholds, Unknown,
};

/// Whole seconds since the engine began.
pub type Second = u32;
