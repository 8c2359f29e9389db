//! `cargo xtask test-vm`: the project on Debian's kernels, each booted in QEMU.
//!
//! This machine's own kernel is one of many. The others come from Debian's archive, the newest of
//! each series, and boot into a file system that holds nothing but portleak, its live tests and a
//! shell. No root, no KVM and no network is needed in or for the guest.

mod cpio;
mod debian;
mod guest;
mod kernels;
mod modules;
mod programs;
mod series;
mod steps;
mod table;
mod tools;
mod verdict;
mod workloads;

use crate::command;
use crate::machine;
use crate::suites::Counts;
use anyhow::{Context, Result};
use debian::Archive;
use programs::Programs;
use series::{Kernel, Series};
use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;
use table::{Outcome, Row, Table};
use verdict::Verdict;

pub(crate) use steps::Choice;
pub(crate) use tools::install_missing as install_tools;
pub(crate) use workloads::Workloads;

/// Machines at a time; each keeps one CPU busy.
const AT_ONCE: usize = 2;

/// Tests on the named series of kernels, or all; the last line is the sum, alone.
pub(crate) fn run(root: &Path, names: &[String], choice: Choice) -> Result<ExitCode> {
    let series = series::select(names)?;
    let Counts { passed, failed, skipped } = test(root, &series, choice, Workloads::default())?;
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    Ok(ExitCode::from(u8::from(failed > 0)))
}

/// The short tests on all series, if this machine can; `here` is what became of the workloads on its
/// own kernel.
pub(crate) fn test_if_possible(root: &Path, here: Workloads) -> Result<Counts> {
    match tools::lacking() {
        Some(why) => Ok(skip(&why)),
        None => test(root, &series::ALL, Choice::Short, here),
    }
}

/// Says that no kernel is tried: a skip for each series.
pub(crate) fn skip(why: &str) -> Counts {
    series::ALL.iter().for_each(|series| println!("SKIPPED: kernel {series}: {why}"));
    series::ALL.iter().fold(Counts::default(), |sum, _| sum.plus(Counts { skipped: 1, ..Counts::default() }))
}

/// Tests on these series and prints the table.
///
/// # Errors
/// When nothing could be tried: tools or Debian's archive are missing, or the project does not build.
fn test(root: &Path, series: &[Series], choice: Choice, here: Workloads) -> Result<Counts> {
    tools::install_missing()?;
    let lab = Lab::open(root, choice)?;
    let table = Table { here, rows: lab.test_all(series) };
    println!("\n{}\n{}", table.render(), choice.explained());
    let file = lab.outputs.join("table.txt");
    fs::write(&file, table.whole()).with_context(|| file.display().to_string())?;
    println!("every workload on every kernel: {}", file.display());
    Ok(table.sum())
}

/// All that the machines share.
struct Lab {
    archive: Archive,
    programs: Programs,
    choice: Choice,
    kernels: PathBuf,
    /// Where each machine's output stays to be looked at.
    outputs: PathBuf,
}

impl Lab {
    fn open(root: &Path, choice: Choice) -> Result<Self> {
        let cache = machine::cache()?.join("vm");
        Ok(Self {
            archive: Archive::open(&cache.join("apt"))?,
            programs: Programs::build(root)?,
            choice,
            kernels: kernels::folder(&cache)?,
            outputs: command::target_dir(root).join("vm"),
        })
    }

    /// In the order of `series`, whichever ends first.
    fn test_all(&self, series: &[Series]) -> Vec<Row> {
        let waiting = Mutex::new(series.iter().copied().enumerate().collect::<VecDeque<_>>());
        let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let work = || std::iter::from_fn(next).map(|(place, series)| (place, self.test(series))).collect();
        let mut rows: Vec<_> = thread::scope(|scope| {
            let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
            workers.into_iter().flat_map(|worker| worker.join().unwrap_or_else(|_| Vec::new())).collect()
        });
        rows.sort_by_key(|(place, _)| *place);
        rows.into_iter().map(|(_, row)| row).collect()
    }

    fn test(&self, series: Series) -> Row {
        let outcome = match series.choose(self.archive.offered()) {
            None => Outcome::NotOffered,
            Some(kernel) => {
                self.boot(series, &kernel).unwrap_or_else(|error| Outcome::NotTried(format!("{error:#}")))
            }
        };
        Row { series: series.to_string(), outcome }
    }

    fn boot(&self, series: Series, kernel: &Kernel) -> Result<Outcome> {
        let release = kernel.release.clone();
        let files = kernels::get(kernel, &self.archive, &self.kernels)?;
        let folder = self.outputs.join(series.to_string());
        println!("booting {release}; its output: {}", folder.display());
        let started = Instant::now();
        let steps = steps::script(&self.programs, self.choice);
        let cpu_max = self.choice.cpu_max();
        let said = guest::run(&files, &self.programs, &steps, cpu_max, &folder).context(release.clone())?;
        let time = started.elapsed();
        for failures in verdict::failures(&said) {
            println!("\n{release}: tests failed:\n{failures}\n");
        }
        println!("{release} ended after {} s", time.as_secs());
        Ok(Outcome::Ran { release, verdict: Verdict::of(&said), time })
    }
}
