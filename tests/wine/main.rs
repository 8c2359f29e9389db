//! portleak.exe under wine: the program that ships, with a stand-in for Windows' event tracing.
//!
//! Every test scripts a Windows machine whose trace the stand-in plays as a live session, in real
//! time. What portleak says is compared with the script, and what it asked Windows for with what it
//! must ask. That Windows itself does as the stand-in does is not shown by this.

#![cfg(target_os = "linux")]
#![expect(clippy::expect_used, clippy::panic, reason = "a failing test says so by panicking")]

mod harness;
mod listed;
mod program;
mod session;
mod verdicts;
