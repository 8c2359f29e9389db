//! The leak detector on one page. It tests lifetimes, not levels.
//!
//! A leak is a part of the holds that does not end. Load, bursts and daily waves change how many
//! ports are acquired, not how long they are held; so every second, for each *series* (the holds of
//! an owner to one destination, all of an owner, all of a program's processes) the detector asks
//! three questions:
//!
//! 1. **Do some stay?** A life table counts, for each age, how many holds ended at it and for how
//!    long holds of that age were watched. From some age on (4.6 s, 10 s, … 1,000 s) the mean
//!    remaining life must be long: at least `exposure / Gamma₉₉(ended + 1)`, which is a lower bound
//!    with 99 % confidence. What is an hour old counts for a third.
//! 2. **Do they get more, evenly and still?** Those that stay must have been born all over a span
//!    up to now, none of its four parts without. A pool that has warmed up fails here, and so does
//!    a burst.
//! 3. **Are they used?** A pool that warms up is a leak in every respect but one: it opens
//!    connections because the others are busy. So when the answer would decide, the engine asks
//!    the source about up to 16 of them, chosen by chance (`Engine::take_idle_queries`), and the source
//!    tells for how long no data has moved ([`EventKind::Idle`](crate::event::EventKind::Idle)).
//!    Holds that were idle for three quarters of their lives are *abandoned*.
//!
//! How long growth must last then depends on the third answer:
//!
//! | those that stay are | it is a leak once | what that spares |
//! | --- | --- | --- |
//! | abandoned | they have eaten 3 % of the pool (session 2 %), or 60 s (40 s) have gone by where most others end as they should, or 10 min (220 s) where none does; however slow, after 12 min (220 s) | a pool of a few hundred that is opened ahead |
//! | of unknown use | they are on the way to half of the pool and have eaten 10 %, or 20 min have gone by; however slow, after half an hour (session: 2 %, 120 s, 450 s) | warm-ups, long connections |
//! | partly used | as of unknown use in production | |
//! | used | they have eaten a quarter of the pool | a busy pool of any sensible size |
//!
//! `suspected` comes at half of that, and at once when every one of six seconds adds ports that are
//! not given back, at 15 a second or more. `growing` is what the last seconds say and accuses nobody.
//!
//! Three states need no statistics, because no healthy program leaves one socket after the other
//! lying in them: CLOSE_WAIT (5 of 40 s; session 35 s), SYN_SENT beyond the kernel's own patience (5
//! of 150 s), and TCP sockets that are bound and nothing else (8 of 60 s; session 5 of 40 s).
//!
//! A verdict goes down when growth has paused for long (a leak: four times `calm_span_s`, or half of
//! the time it took to grow), or at once it is calm when half of the ports are back.
//!
//! # What it cannot know
//!
//! Connections that lie idle for all of their long lives, ever more of them, are called a leak,
//! whatever they wait for. A leak of connections on which the peer keeps sending counts as used.
//! UDP has no idle times.
//!
//! # Bounds
//!
//! A series takes 1 to 2 KiB (5 KiB if it has sockets stuck in every state for hours), and there are
//! 32,768 of them: one with no hold, no TIME_WAIT and nothing moved for a
//! minute is dropped; a hold that finds no room counts in fewer series, and is counted as evicted.
//!
//! # Changing it
//!
//! All numbers are [`Thresholds`]; `--thresholds FILE` changes some of them:
//!
//! ```toml
//! in_use_pool_share = 0.5     # of the pool, before connections that are used are called a leak
//!
//! [close_wait]
//! leak = 20                   # sockets …
//! leak_age_s = 120            # … that have been in CLOSE_WAIT for two minutes
//!
//! [abandoned]                 # and likewise [unknown], [mixed]
//! slow_span_s = 1800          # a slow leak only after half an hour
//! ```
//!
//! `cargo xtask evaluate` shows what a change does to leaks found, delays and false verdicts.

mod age_histogram;
mod flows;
mod growth;
mod idle_samples;
mod life_table;
mod rules;
mod series;
mod thresholds;

pub(super) use idle_samples::{SAMPLE_SIZE, Window};
pub(super) use series::{Judged, Series, Surroundings};
pub use thresholds::{GrowthCriteria, Stuck, Thresholds};

/// What the rest of the engine needs to know about time: whole seconds since the engine began.
pub(super) type Second = u32;
