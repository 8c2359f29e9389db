//! The live trace of Windows: a session, and the lists of Windows beside it.
//!
//! ```text
//! Windows' thread   session: event_record → queue ──┐
//!                                                   ▼
//! our thread        live_source: records, losses, due inquiries ── workers: lists, settings
//!                     ▼
//!                   sequencer: records and lists in order of time → model
//! ```
//!
//! Only `session`, `control`, `event_record`, `session_name` and `system` call Windows. The rest is portable
//! and tested everywhere.

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
