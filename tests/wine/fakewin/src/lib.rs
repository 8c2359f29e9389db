//! Stands in for what wine lacks of Windows: event tracing, drivers, Ctrl-C; and for sockets that it would list.
//!
//! A trace file becomes a session: its records come in real time to whom asked for them, as late as
//! the session's flush timer makes them. It knows the rules that Microsoft documents and refuses what
//! breaks them; every call is noted. All structures are those of `windows-sys`, so that an offset
//! cannot be wrong here and in portleak alike.

#![cfg(windows)]
#![expect(clippy::expect_used, reason = "a stand-in that cannot do its work has to end the program")]

mod console;
mod control;
mod machine;
mod play;
mod state;
