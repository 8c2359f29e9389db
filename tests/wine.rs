//! portleak.exe under wine: the program that ships, with a stand-in for Windows' event tracing.
//!
//! Every test scripts a Windows machine whose trace the stand-in plays as a live session, in real
//! time. What portleak says is compared with the script, and what it asked Windows for with what it
//! must ask. That Windows itself does as the stand-in does is not shown by this.

#![cfg(target_os = "linux")]
#![expect(clippy::expect_used, clippy::panic, reason = "a failing test says so by panicking")]

#[expect(dead_code, reason = "tests/etl.rs uses more of it")]
#[path = "etl/encode.rs"]
mod encode;
#[path = "wine/harness.rs"]
mod harness;
#[path = "wine/listed.rs"]
mod listed;
#[expect(dead_code, reason = "tests/etl.rs uses more of it")]
#[path = "etl/machine.rs"]
mod machine;
#[path = "etl/pack.rs"]
mod pack;
#[path = "wine/plan.rs"]
mod plan;
#[path = "wine/program.rs"]
mod program;
#[path = "wine/session.rs"]
mod session;
#[expect(dead_code, reason = "tests/live.rs uses more of it")]
#[path = "live/trace.rs"]
mod trace;
#[path = "wine/verdicts.rs"]
mod verdicts;
#[path = "etl/writer.rs"]
mod writer;
