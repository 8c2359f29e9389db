//! Windows: its event traces, live or from a file, as the events that every source emits.
//!
//! Payloads are decoded from their bytes. All code is portable but the edge of `live`, and `win32`, which
//! calls Windows.
//!
//! ```text
//! a file    etl::Reader    buffers → records in order of time ──┐
//! Windows   live::Session  records as they are delivered ───────┤
//!           win32, inventory: sockets, processes, drivers ────┐ │
//!                                                             │ ▼
//!              decoded_event::decode   layout, mof: the content of a record
//!                                                             │ ▼
//!              model::Model   its meaning: holds, owners, failures ── Event
//! ```
//!
//! # What could not be verified
//!
//! The layouts are those of Microsoft's manifests, and the reader agrees with Microsoft's decode of real
//! traces. But no recording with events 1191 to 1195 was available. Their meaning is taken from the messages
//! in the manifests, and every open question is handled either way:
//!
//! - The byte order of `PortNumber` is derived from each trace (`model::PortByteOrder`).
//! - `PortAcquirer` may differ from the `Endpoint` of 1001. The owner then comes from the thread's pending
//!   request.
//! - TIME_WAIT may keep a reference. It then lasts until 1193; otherwise it is not seen.
//! - A failed bind may be reported as 1029 or as 1030. Both are decoded, and the stack's 1006 as well.
//! - `WeakReference` of 1193 may not distinguish an endpoint's reference from a connection's. For an unknown
//!   holder, the other kind is released where none of its own kind is left.
//! - 1054 does not report a transport. TCP is assumed, as its name says; 1519 has precedence.
//! - System's sockets may not have pid 4 in 1001 and 1391. The thread's pid is used where they have none.

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
