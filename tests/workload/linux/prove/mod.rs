//! One proof workload at a time: a few steps in the life of a port, and which ports they took.
//!
//! Where the order of events is the point, a case takes and gives back a *marker*, a port that
//! shows when something has or has not happened yet.

mod kinds;
mod owners;
mod pools;
mod story;
mod tcp;
mod timewait;
mod udp;
mod uring;

use super::tally::print_line;
use anyhow::{Context, Result};
use portleak::source::linux::kernel::clock::boot_ns;
use serde::Serialize;
use std::fs;
use std::os::unix::fs::MetadataExt;
use story::{Impossible, Story, Took};

type Program = fn(&mut Story) -> Result<()>;

const CASES: [&[(&str, Program)]; 7] =
    [tcp::CASES, timewait::CASES, udp::CASES, owners::CASES, pools::CASES, kinds::CASES, uring::CASES];

/// What a case did, for the test to compare.
#[derive(Serialize)]
struct Report {
    /// The network namespace, by inode number.
    netns: u64,
    /// `CLOCK_BOOTTIME` inside of it, before anything was done: the number may be a dead one's.
    began_ns: u64,
    /// Every port taken, in order.
    took: Vec<Took>,
    /// Why this kernel cannot run the case.
    impossible: Option<String>,
}

/// Runs one case and says what it did.
pub(super) fn run(name: &str) -> Result<()> {
    let (_, program) =
        CASES.into_iter().flatten().find(|(it, _)| *it == name).with_context(|| format!("no case {name}"))?;
    let began_ns = boot_ns();
    let mut story = Story::default();
    let impossible = match program(&mut story) {
        Ok(()) => None,
        Err(error) => Some(error.downcast::<Impossible>()?.0),
    };
    let netns = fs::metadata("/proc/self/ns/net")?.ino();
    print_line(&serde_json::to_string(&Report { netns, began_ns, took: story.into_took(), impossible })?)
}
