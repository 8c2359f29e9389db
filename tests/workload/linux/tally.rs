//! What one process did, counted as the tracer must count it.

use anyhow::Result;
use serde::Serialize;
use std::io::{self, Write};

/// Ephemeral ports of one protocol.
#[derive(Clone, Copy, Default, Serialize)]
pub(super) struct Tally {
    acquired: u64,
    released: u64,
    held: u64,
}

impl Tally {
    /// A port was acquired.
    pub(super) fn took(&mut self) {
        self.acquired += 1;
        self.held += 1;
    }

    /// A port was released.
    pub(super) fn gave(&mut self) {
        self.released += 1;
        self.held -= 1;
    }
}

/// The line that one process prints.
#[derive(Serialize)]
pub(super) struct Report<More: Serialize = Nothing> {
    pid: u32,
    role: &'static str,
    tcp: Tally,
    udp: Tally,
    #[serde(flatten)]
    more: More,
}

/// No further facts.
#[derive(Serialize)]
pub(super) struct Nothing {}

impl Report {
    /// Of a client that used TCP only.
    pub(super) fn tcp(tcp: Tally) -> Self {
        Self::both(tcp, Tally::default())
    }

    /// Of a client that used both protocols.
    pub(super) fn both(tcp: Tally, udp: Tally) -> Self {
        Self { pid: std::process::id(), role: "client", tcp, udp, more: Nothing {} }
    }
}

impl<More: Serialize> Report<More> {
    /// The same of another process, told by this one.
    pub(super) fn of(self, pid: u32) -> Self {
        Self { pid, ..self }
    }

    /// Of a server.
    pub(super) fn server(tcp: Tally, more: More) -> Self {
        Self { role: "server", ..Report::tcp(tcp).with(more) }
    }

    /// The same with further facts.
    pub(super) fn with<Other: Serialize>(self, more: Other) -> Report<Other> {
        Report { pid: self.pid, role: self.role, tcp: self.tcp, udp: self.udp, more }
    }

    /// Prints it as one line, at once.
    pub(super) fn print(&self) -> Result<()> {
        print_line(&serde_json::to_string(self)?)
    }
}

/// Prints one line, in one write.
pub(super) fn print_line(line: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(format!("{}\n", line.trim_end()).as_bytes())?;
    out.flush()?;
    Ok(())
}
