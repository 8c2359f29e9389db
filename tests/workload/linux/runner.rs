//! This program again, as servers and clients with pids of their own.

use super::tally::print_line;
use anyhow::{Context, Result, ensure};
use portleak_tests::limits;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A process of the runner. It ends when its standard input does, at the latest when we do.
pub(super) struct Member {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Member {
    /// Starts this program with other arguments.
    pub(super) fn start(arguments: &[String]) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting a process of the runner")?;
        let input = child.stdin.take().context("its standard input")?;
        let output = child.stdout.take().context("its standard output")?;
        Ok(Self { child, input, output: BufReader::new(output) })
    }

    /// Its pid.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the line in which it says what it did.
    pub(super) fn report(&mut self) -> Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        ensure!(!line.is_empty(), "process {} ended without a report", self.pid());
        Ok(line)
    }

    /// Lets it go on, if it waits for that.
    pub(super) fn proceed(&mut self) -> Result<()> {
        Ok(self.input.write_all(b"\n")?)
    }

    /// Lets it end, and waits until it has.
    pub(super) fn dismiss(self) -> Result<()> {
        let Self { mut child, input, .. } = self;
        drop(input);
        let status = child.wait()?;
        ensure!(status.success(), "process {} ended with {status}", child.id());
        Ok(())
    }
}

/// Starts all, passes their reports on.
pub(super) fn start_all(roles: &[Vec<String>]) -> Result<Vec<Member>> {
    let members = roles.iter().map(|role| Member::start(role));
    let mut members = members.collect::<Result<Vec<_>>>()?;
    for member in &mut members {
        print_line(&member.report()?)?;
    }
    Ok(members)
}

/// Servers first, then clients; waits for the observer; ends all in the opposite order.
pub(super) fn perform(servers: &[Vec<String>], clients: &[Vec<String>]) -> Result<()> {
    let servers = start_all(servers)?;
    let clients = start_all(clients)?;
    limits::wait_for_observer()?;
    dismiss_all(clients)?;
    dismiss_all(servers)
}

/// Ends all.
pub(super) fn dismiss_all(members: Vec<Member>) -> Result<()> {
    members.into_iter().try_for_each(Member::dismiss)
}
