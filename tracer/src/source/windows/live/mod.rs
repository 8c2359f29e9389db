//! Windows, live: a trace session, and beside it what Windows lists.
//!
//! ```text
//! Windows' thread   session: event_record → queue ──┐
//!                                                   ▼
//! ours              feed: what was lost, what to list and when
//!                     ▼
//!                   sequencer: each record and listing at its instant → model
//! ```
//!
//! Only `session`, `control`, `event_record`, `session_name` and `system` ask Windows for anything; the rest is
//! portable, and is tested everywhere.

pub mod capture;
pub mod extended_items;
pub mod inquiry;
pub mod live_source;
pub mod providers;
pub mod queue;
pub mod sequencer;
pub mod session_error;

#[cfg(windows)]
mod control;
#[cfg(windows)]
mod event_record;
#[cfg(windows)]
pub mod session;
#[cfg(windows)]
mod session_name;
#[cfg(windows)]
mod system;

#[cfg(windows)]
pub use session::{Session, SessionOptions};
#[cfg(windows)]
pub use system::{Live, Windows};
