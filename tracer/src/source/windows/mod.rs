//! Windows: what its tracing tells, live or from a file, as the same events that every source says.
//!
//! Payloads are decoded from their bytes: all is portable but the edge of `live`, and `win32`, which asks
//! Windows what it lists.
//!
//! ```text
//! a file    etl::Reader    buffers → records in order of time ──┐
//! Windows   live::Session  records as they are delivered ───────┤
//!           win32, inventory: sockets, processes, drivers ────┐ │
//!                                                             │ ▼
//!                          decoded_event::decode   layout, classic: what a record says
//!                                                             │ ▼
//!                          model::Model   what that means: holds, owners, refusals ── Event
//! ```
//!
//! # What nobody could verify
//!
//! The layouts are Microsoft's manifests', and the reader agrees with Microsoft's on real traces. But
//! no recording with events 1191 to 1195 could be had, so these are taken from the messages of the
//! manifests, and each is handled whichever way it turns out:
//!
//! - The byte order of `PortNumber`: found out from each trace (`model::PortByteOrder`).
//! - Whether `PortAcquirer` is the `Endpoint` of 1001: where it is not, the owner comes from the
//!   request that the thread is in.
//! - Whether TIME_WAIT keeps a reference: if it does, TIME_WAIT lasts until 1193; if not, it is not seen.
//! - Whether a failed bind is told as 1029 or 1030: both are read, and the stack's 1006 before them.
//! - Whether `WeakReference` of 1193 tells an endpoint's reference from a connection's: of a holder that
//!   was never seen, the other kind is taken where none of its own is left.
//! - Of which transport the ports of 1054 are: of TCP, as its name says; 1519 is believed before it.
//! - Whether System's sockets have pid 4 in 1001 and 1391: the thread's pid is used where they have none.

pub mod advice;
mod bytes;
mod capture;
pub mod decoded_event;
pub mod etl;
pub mod guid;
pub mod inventory;
pub mod layout;
pub mod live;
pub mod model;
mod mof;
pub mod record;
pub mod selftest;
pub mod snapshot;
#[cfg(windows)]
pub mod win32;
