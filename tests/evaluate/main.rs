//! `cargo xtask evaluate` runs this.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "its output is what it is for")]

use clap::Parser;
use portleak::engine::Profile;
use portleak_tests::evaluate::judge::{Outcome, Setup, judge};
use portleak_tests::evaluate::kinds::Kind;
use portleak_tests::evaluate::policies::PolicyName;
use portleak_tests::evaluate::table::{self, Row};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Plays labelled synthetic traffic to the engine and tells how it judged.
#[derive(Parser)]
struct Cli {
    /// Runs of each kind
    #[arg(long, default_value_t = 20)]
    seeds: u64,
    /// The first seed: below 10,000 to tune, from 1,000,000 on to report
    #[arg(long, default_value_t = 1_000_000)]
    first: u64,
    /// Take every seed of so many: every fourth is as named, neither scaled nor with losses
    #[arg(long, default_value_t = 1)]
    stride: u64,
    /// Only this profile: session or production
    #[arg(long)]
    profile: Option<String>,
    /// Only kinds whose name contains this
    #[arg(long, default_value = "")]
    kind: String,
    /// Only healthy kinds, or only leaks
    #[arg(long)]
    only: Option<String>,
    /// Also with a source that cannot tell how long connections have been idle
    #[arg(long)]
    mute: bool,
    /// The policy that judges
    #[arg(long, value_enum, default_value_t)]
    policy: PolicyName,
    /// List every change of verdict with its numbers, to compare two builds
    #[arg(long)]
    changes: bool,
    /// Threads
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Tell each wrong verdict and each leak that was not found
    #[arg(long, short)]
    verbose: bool,
}

fn main() {
    let cli = Cli::parse();
    for (profile, name) in [(Profile::Production, "production"), (Profile::Session, "session")] {
        if cli.profile.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        let sources: &[bool] = if cli.mute { &[true, false] } else { &[true] };
        for &answers in sources {
            let idle = if answers { "" } else { ", idle times unknown" };
            println!("\n## Profile {name}{idle}\n");
            let setup = Setup { policy: cli.policy, changes: cli.changes, ..Setup::of(profile, answers) };
            let rows = evaluate(&cli, setup);
            println!("{}", table::text(&rows));
        }
    }
}

fn evaluate(cli: &Cli, setup: Setup) -> Vec<Row> {
    let wanted = |kind: &&Kind| match cli.only.as_deref() {
        Some("healthy") => !kind.leaks,
        Some("leaks") => kind.leaks,
        _ => true,
    };
    let kinds: Vec<&'static Kind> = table::kinds(&cli.kind).filter(wanted).collect();
    let seeds = (0..cli.seeds).map(|seed| cli.first + seed * cli.stride);
    let all = seeds.flat_map(|seed| (0..kinds.len()).map(move |kind| (kind, seed)));
    let tasks: Vec<(usize, u64)> =
        all.filter(|&(kind, seed)| seed.is_multiple_of(kinds[kind].one_of)).collect();
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, Outcome)>> = Mutex::default();
    thread::scope(|scope| {
        for _ in 0..cli.threads.max(1) {
            scope.spawn(|| {
                while let Some(&(at, seed)) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = judge(kinds[at], seed, setup);
                    for change in &outcome.changes {
                        let (name, profile, answers) = (kinds[at].name, setup.profile, setup.answers);
                        eprintln!("{name} {seed} {profile:?} {answers} {change}");
                    }
                    if cli.verbose {
                        complain(kinds[at], seed, &outcome);
                    }
                    if let Ok(mut done) = done.lock() {
                        done.push((at, outcome));
                    }
                }
            });
        }
    });
    let mut rows: Vec<Row> = kinds.into_iter().map(|kind| Row { kind, outcomes: Vec::new() }).collect();
    for (at, outcome) in done.into_inner().unwrap_or_default() {
        rows[at].outcomes.push(outcome);
    }
    rows
}

fn complain(kind: &Kind, seed: u64, outcome: &Outcome) {
    if let Some(wrong) = &outcome.wrong {
        eprintln!("{} (seed {seed}): wrongly {wrong}", kind.name);
    }
    if kind.leaks && outcome.leak.is_none() {
        eprintln!("{} (seed {seed}): not found, suspected {:?}", kind.name, outcome.suspected);
    }
}
