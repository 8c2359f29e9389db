//! The command line, and which file does what.

mod brief;
mod cases;
mod children;
mod client;
mod exact;
mod kernel;
mod meter;
mod moves;
mod paced;
mod prove;
mod random;
mod raw;
mod runner;
mod server;
mod socket;
mod storm;
mod tally;
mod traffic;
mod uring;

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand};
use portleak_tests::{limits, netns};
use std::ffi::{CString, OsString};
use std::time::Duration;

/// Opens and closes ports in known ways and says exactly what it did.
#[derive(Parser)]
#[command(name = "workload")]
struct Cli {
    /// Work in a network namespace of its own, with the loopback up.
    #[arg(long)]
    own_netns: bool,
    /// The ephemeral range of that namespace.
    #[arg(long, value_name = "LOW-HIGH", requires = "own_netns")]
    range: Option<netns::Range>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Connect and reset as fast as possible; both ends in this process.
    Storm {
        #[arg(long)]
        connections: u32,
        /// Over how many loopback addresses.
        #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
        destinations: u32,
    },
    /// Send datagrams over one socket; both ends in this process.
    Datagrams {
        #[arg(long)]
        count: u32,
        /// Otherwise as fast as possible.
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
        per_second: Option<u32>,
    },
    /// Move bytes over one connection; both ends in this process.
    Stream {
        #[arg(long)]
        megabytes: u32,
        /// Otherwise as fast as possible.
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
        per_second: Option<u32>,
    },
    /// Healthy: connect, say a byte, close after a while.
    Steady {
        #[command(flatten)]
        pace: Pace,
        #[arg(long, default_value_t = 100)]
        hold_ms: u64,
    },
    /// Connect and never close.
    Leak {
        #[command(flatten)]
        pace: Pace,
    },
    /// Healthy: connect a fixed number, then use them in turn.
    Pool {
        #[arg(long)]
        size: u32,
        #[command(flatten)]
        pace: Pace,
    },
    /// Healthy: connect so many a second, and use all of them every second.
    Grow {
        #[command(flatten)]
        pace: Pace,
    },
    /// Healthy: many connections at once, all closed after a while, again and again.
    Burst {
        #[arg(long)]
        size: u32,
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
        every_s: u64,
        #[arg(long)]
        hold_s: u64,
        #[arg(long)]
        seconds: u64,
    },
    /// Processes that acquire one port each and end, once a line or the end of standard input is there.
    Brief {
        #[arg(long)]
        processes: u32,
        #[arg(long, value_enum)]
        transport: brief::Transport,
        /// Otherwise as fast as possible, one after another.
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
        per_second: Option<u32>,
    },
    /// Every way to take a port, so many times each, in so many processes.
    Exact {
        #[arg(long, default_value_t = 1)]
        processes: u32,
        #[command(flatten)]
        plan: exact::Plan,
    },
    /// The server resets; the ports are free while the client's descriptors are still open.
    Reset {
        #[arg(long)]
        connections: u32,
    },
    /// Connections that stay, spread over processes to fit into the limit of open files.
    Hold {
        /// For each process.
        #[arg(long)]
        connections: u32,
        #[arg(long, default_value_t = 1)]
        processes: u16,
    },
    /// Processes one after another, each of which takes a port and ends.
    Children {
        #[arg(long)]
        count: u32,
    },
    /// A program as the first process of a new pid namespace.
    InPidNamespace {
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
    },
    /// A server on a port that the system chose, and its accepted connections.
    Accept {
        #[arg(long)]
        connections: u32,
    },
    /// The process ends without closing anything.
    ExitHolding {
        #[arg(long)]
        connections: u32,
    },
    /// The process becomes another program (`cat`) and keeps its connections.
    Exec {
        #[arg(long)]
        connections: u32,
    },
    /// The process's connections go to another, or to none.
    Move {
        #[arg(value_enum)]
        way: moves::Way,
        #[arg(long)]
        connections: u32,
    },
    /// The client closes first and leaves TIME_WAIT behind.
    TimeWait {
        #[arg(long)]
        connections: u32,
    },
    /// The server closes; the client does not.
    CloseWait {
        #[arg(long)]
        connections: u32,
    },
    /// More connections than there are ports (40000-40003 unless --range says otherwise).
    Exhaust {
        #[arg(long, default_value_t = 6)]
        attempts: u32,
    },
    /// One proof workload (tests/proof), by name.
    Prove { case: String },
    /// Random operations by several processes, some at a time; then waits for a line, or ends.
    Random {
        #[arg(long)]
        seed: u64,
        /// How often it waits.
        #[arg(long, default_value_t = 6)]
        rounds: u32,
        /// How many operations each process does before that.
        #[arg(long, default_value_t = 8)]
        steps: u32,
        #[arg(long, default_value_t = 3)]
        processes: u64,
    },
    /// Says a byte over RDS, for which the kernel connects by TCP.
    Rds {
        /// A local address, not a loopback one: between those RDS needs no TCP.
        from: String,
        to: String,
    },
    /// mount(2): no program of the machine's is asked to do it otherwise.
    Mount { kind: CString, source: CString, target: CString, options: CString },
    /// One process of `children`.
    #[command(hide = true)]
    OnePort,
    /// One server process of the commands above.
    #[command(hide = true)]
    Serve(server::Role),
    /// One client process of the commands above.
    #[command(hide = true, subcommand)]
    Client(client::Role),
}

/// How fast and for how long.
#[derive(clap::Args, Clone, Copy)]
struct Pace {
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    per_second: u32,
    #[arg(long)]
    seconds: u32,
}

pub(crate) fn main() -> Result<()> {
    let cli = Cli::parse();
    limits::end_after(limits::LIFE_MAX);
    limits::allow_many_files()?;
    prepare_netns(&cli)?;
    run(cli.command)
}

/// Before any thread starts: a namespace is a thread's.
fn prepare_netns(cli: &Cli) -> Result<()> {
    let exhaust = matches!(cli.command, Command::Exhaust { .. });
    ensure!(cli.own_netns || !exhaust, "exhaust needs --own-netns: it would exhaust this machine's ports");
    if cli.own_netns {
        let range = cli.range.or(exhaust.then_some(netns::FOUR_PORTS));
        netns::enter_new(range)?;
    }
    Ok(())
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Storm { connections, destinations } => storm::run(connections, destinations),
        Command::Datagrams { count, per_second } => traffic::datagrams(count, per_second),
        Command::Stream { megabytes, per_second } => traffic::stream(megabytes, per_second),
        Command::Steady { pace, hold_ms } => paced::steady(pace, Duration::from_millis(hold_ms)),
        Command::Leak { pace } => paced::leak(pace),
        Command::Pool { size, pace } => paced::pool(size, pace),
        Command::Grow { pace } => paced::grow(pace),
        Command::Burst { size, every_s, hold_s, seconds } => paced::burst(
            size,
            Duration::from_secs(every_s),
            Duration::from_secs(hold_s),
            Duration::from_secs(seconds),
        ),
        Command::Brief { processes, transport, per_second } => brief::run(processes, transport, per_second),
        Command::Exact { processes, plan } => cases::exact(processes, &plan),
        Command::Reset { connections } => cases::reset(connections),
        Command::Hold { connections, processes } => cases::hold(connections, processes),
        Command::Children { count } => children::run(count),
        Command::InPidNamespace { command } => children::in_pid_namespace(&command),
        Command::OnePort => children::one_port(),
        Command::Accept { connections } => cases::accept(connections),
        Command::ExitHolding { connections } => cases::exit_holding(connections),
        Command::Exec { connections } => cases::exec(connections),
        Command::Move { way, connections } => cases::give_away(way, connections),
        Command::TimeWait { connections } => cases::time_wait(connections),
        Command::CloseWait { connections } => cases::close_wait(connections),
        Command::Exhaust { attempts } => cases::exhaust(attempts),
        Command::Prove { case } => prove::run(&case),
        Command::Random { seed, rounds, steps, processes } => random::run(seed, rounds, steps, processes),
        Command::Rds { from, to } => kernel::rds(&from, &to),
        Command::Mount { kind, source, target, options } => kernel::mount(&kind, &source, &target, &options),
        Command::Serve(role) => server::run(&role),
        Command::Client(role) => client::run(role),
    }
}
