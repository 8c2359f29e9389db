//! The command line.

pub mod thresholds;
mod usage;
pub mod values;

use crate::engine::Profile;
use crate::engine::scope::Scope;
use crate::event::Protocol;
use crate::source::Stacks;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;
use usage::{
    EXAMPLES, EXPLAIN_EXAMPLES, REPLAY_EXAMPLES, RUN_EXAMPLES, RUN_USAGE, SNAPSHOT_EXAMPLES, TRACE_EXAMPLES,
};

/// Finds the process that leaks ephemeral ports, while it leaks.
#[derive(Debug, Parser)]
#[command(name = "portleak", version, max_term_width = 100, after_help = EXAMPLES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// Parses a command line, the program's name first.
    ///
    /// # Errors
    /// Help and the version, which were asked for, or wrong usage; the error knows which.
    pub fn from_args<T>(args: impl IntoIterator<Item = T>) -> Result<Self, clap::Error>
    where
        T: Into<OsString> + Clone,
    {
        Self::try_parse_from(args).map_err(usage::show_the_dashes)
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a command; trace it and its descendants until it ends
    #[command(
        override_usage = RUN_USAGE,
        after_help = RUN_EXAMPLES
    )]
    Run(Run),
    /// Trace this machine until Ctrl-C or --duration
    #[command(after_help = TRACE_EXAMPLES)]
    Trace(Trace),
    /// Show who holds which ports now, without tracing
    #[command(after_help = SNAPSHOT_EXAMPLES)]
    Snapshot(Snapshot),
    /// Analyse a recording again, on any machine
    #[command(after_help = REPLAY_EXAMPLES)]
    Replay(Replay),
    /// Show what works on this machine, what does not, why, and the remedy
    Doctor(Doctor),
    /// Explain an error code, such as EADDRNOTAVAIL, 10055 or 0xC0000209
    #[command(after_help = EXPLAIN_EXAMPLES)]
    Explain(Explain),
}

/// `portleak run`.
#[derive(Debug, Args)]
pub struct Run {
    /// What to capture.
    #[command(flatten)]
    pub capture: CaptureArgs,
    /// How to print it.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Whether to record it.
    #[command(flatten)]
    pub record: RecordArgs,
    /// Keep tracing for this long after CMD has ended, for children that outlive it
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = values::duration)]
    #[arg(help_heading = "Capture")]
    pub linger: Duration,
    /// The command to run, and its arguments
    #[arg(last = true, required = true, value_name = "CMD", help_heading = "Command, after --")]
    pub command: Vec<OsString>,
}

/// `portleak trace`.
#[derive(Debug, Args)]
pub struct Trace {
    /// What to capture.
    #[command(flatten)]
    pub capture: CaptureArgs,
    /// How to print it.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Whether to record it.
    #[command(flatten)]
    pub record: RecordArgs,
}

/// `portleak snapshot`.
#[derive(Debug, Args)]
pub struct Snapshot {
    /// Whose ports to report.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// How to print it.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `portleak replay`.
#[derive(Debug, Args)]
pub struct Replay {
    /// A file written with --record, or a Windows event trace (.etl)
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Detection profile; default: the one it was recorded with
    #[arg(long, value_enum, value_name = "session|production", hide_possible_values = true)]
    pub profile: Option<ProfileArg>,
    /// How to print it.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `portleak doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Text for people, or one JSON object
    #[arg(long, value_enum, value_name = "text|json", hide_possible_values = true)]
    #[arg(default_value_t)]
    pub format: Format,
    /// Also list limits that need no remedy
    #[arg(short, long)]
    pub verbose: bool,
    /// Windows: take ports in every way on loopback, and report what event tracing says about them
    #[arg(long)]
    pub self_test: bool,
    /// Save the events of the self-test in this file (.etl)
    #[arg(long, value_name = "FILE", requires = "self_test")]
    pub save: Option<PathBuf>,
    /// How long the self-test waits for TIME_WAIT to end
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = values::duration)]
    #[arg(requires = "self_test")]
    pub wait: Duration,
}

/// `portleak explain`.
#[derive(Debug, Args)]
pub struct Explain {
    /// Name, number, or words of the message; without it, all known codes are listed
    #[arg(value_name = "CODE", allow_negative_numbers = true)]
    pub code: Vec<String>,
}

/// Whose ports to report.
#[derive(Debug, Args)]
#[command(next_help_heading = "Capture")]
pub struct FilterArgs {
    /// Report only this process; may be given several times
    #[arg(long, value_name = "N")]
    pub pid: Vec<u32>,
    /// Report only processes with this name (as ps -o comm shows it)
    #[arg(long, value_name = "NAME")]
    pub comm: Option<String>,
    /// Report only processes in this cgroup or below it, such as /system.slice/nginx.service
    #[arg(long, value_name = "PATH")]
    pub cgroup: Option<String>,
    /// Report only ports of this network namespace: self, or an inode number (lsns -t net)
    #[arg(long, value_name = "self|all|INODE", default_value = "all", value_parser = values::netns)]
    pub netns: NetnsArg,
    /// Report only this protocol
    #[arg(long, value_enum, value_name = "tcp|udp", hide_possible_values = true)]
    pub proto: Option<Proto>,
}

/// What to capture.
#[derive(Debug, Args)]
#[command(next_help_heading = "Capture")]
pub struct CaptureArgs {
    /// Whose ports to report.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Detection profile: session reports early, production avoids false alarms
    #[arg(long, value_enum, value_name = "session|production", hide_possible_values = true)]
    #[arg(default_value_t)]
    pub profile: ProfileArg,
    /// Read detection thresholds from this TOML file; others keep the profile's values
    #[arg(long, value_name = "FILE")]
    pub thresholds: Option<PathBuf>,
    /// Size of the kernel's event buffer, such as 64K or 16M; rounded up to a power of two
    #[arg(long, value_name = "SIZE", default_value = "4M", value_parser = values::size)]
    pub buffer: u32,
    /// Record call sites: always, never, or auto: for every port in run, elsewhere for the
    /// kernel's own ports only
    #[arg(long, value_enum, value_name = "auto|always|never", hide_possible_values = true)]
    #[arg(default_value_t)]
    pub stacks: StacksArg,
    /// Stop after this long, such as 500ms, 30s, 5m, 2h; run then ends CMD too (SIGTERM)
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    pub duration: Option<Duration>,
}

/// How to print it.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// Text for people, or one JSON object per line
    #[arg(long, value_enum, value_name = "text|json", hide_possible_values = true)]
    #[arg(default_value_t)]
    pub format: Format,
    /// Write to this file instead of standard output
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Exit with 3 if an owner ends as suspected, leak or exhausted
    #[arg(long)]
    pub fail_on_leak: bool,
    /// No colours; same as the environment variable NO_COLOR
    #[arg(long)]
    pub no_color: bool,
    /// Print only the summary, no findings as they happen
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Also list what is limited on this machine, and the remedy
    #[arg(short, long)]
    pub verbose: bool,
}

/// Whether to record the events.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct RecordArgs {
    /// Also record all events in this file, for portleak replay; it contains the command lines of
    /// all processes
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
}

/// The output's format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// A protocol, as typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Proto {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// A profile, as typed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ProfileArg {
    /// Somebody watches the output.
    #[default]
    Session,
    /// Unattended.
    Production,
}

/// Whose call sites to record, as typed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum StacksArg {
    /// What suits the subcommand.
    #[default]
    Auto,
    /// Everybody's.
    Always,
    /// Nobody's.
    Never,
}

impl CaptureArgs {
    /// Whose call sites to record, where `auto` means `usual`.
    #[must_use]
    pub fn stacks(&self, usual: Stacks) -> Stacks {
        match self.stacks {
            StacksArg::Auto => usual,
            StacksArg::Always => Stacks::All,
            StacksArg::Never => Stacks::None,
        }
    }
}

/// A network namespace, as typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetnsArg {
    /// All of them.
    All,
    /// The one that portleak runs in.
    Own,
    /// The one with this inode number.
    Inode(u32),
}

impl FilterArgs {
    /// The filters that need no look-up on the machine; cgroup and network namespace are left open.
    #[must_use]
    pub fn scope(&self) -> Scope {
        Scope {
            pids: self.pid.clone(),
            comm: self.comm.clone(),
            protocol: self.proto.map(|proto| match proto {
                Proto::Tcp => Protocol::Tcp,
                Proto::Udp => Protocol::Udp,
            }),
            ..Scope::default()
        }
    }
}

impl ProfileArg {
    /// The detection profile.
    #[must_use]
    pub fn profile(self) -> Profile {
        match self {
            Self::Session => Profile::Session,
            Self::Production => Profile::Production,
        }
    }
}

#[cfg(test)]
mod tests;
