//! What to capture: from arguments to a source, a configuration and the header of a recording.

use crate::cli::{CaptureArgs, FilterArgs, NetnsArg, RecordArgs, thresholds};
use crate::engine::Config;
use crate::engine::scope::Scope;
use crate::event::Capture;
use crate::os::page_bytes;
use crate::os::signals::{OsSignals, Signals};
use crate::pipeline::capture::{self, Capturing, Opened};
use crate::recording::{Header, Recording};
use crate::source::{self, CaptureOptions, Stacks, filter_targets};
use crate::symbols::Symbols;
use anyhow::{Context, bail};
use std::ffi::OsString;

/// Before anything starts: a recording that cannot be written must not cost a trace.
pub(super) fn create_recording(args: &RecordArgs, symbols: &Symbols) -> anyhow::Result<Option<Recording>> {
    let create = |path| Recording::create(path, symbols.clone());
    Ok(args.record.as_deref().map(create).transpose()?)
}

/// What a recording of an opened source begins with, apart from what is known when it does.
pub(super) fn header(opened: &Opened, args: &CaptureArgs, command: &[OsString]) -> Header {
    Header {
        tool: concat!("portleak ", env!("CARGO_PKG_VERSION")).to_owned(),
        capture: opened.capture.clone(),
        config: Config::default(),
        command: command.iter().map(|word| word.to_string_lossy().into_owned()).collect(),
        buffer_bytes: args.buffer,
        began_ns: 0,
    }
}

pub(super) fn listen() -> anyhow::Result<OsSignals> {
    OsSignals::listen().context("cannot listen for Ctrl-C")
}

/// Opens the source on its own thread. A signal meanwhile ends it all: nothing was seen yet.
pub(super) async fn open_source(
    args: &CaptureArgs,
    stacks: Stacks,
    signals: &mut OsSignals,
) -> anyhow::Result<(Opened, Capturing)> {
    let buffer_bytes = args.buffer.max(page_bytes());
    let options = CaptureOptions { buffer_bytes, stacks: args.stacks(stacks) };
    tokio::select! {
        opened = capture::open(move || source::open(&options)) => Ok(opened?),
        _ = signals.next() => bail!("interrupted before the trace began"),
    }
}

pub(super) fn config(args: &CaptureArgs) -> anyhow::Result<Config> {
    let profile = args.profile.profile();
    let thresholds = args.thresholds.as_deref().map(|file| thresholds::read(file, profile)).transpose()?;
    Ok(Config { profile, scope: scope(&args.filter)?, thresholds })
}

/// The filter's targets must exist: a typing mistake must not look like a machine without leaks.
pub(super) fn scope(args: &FilterArgs) -> anyhow::Result<Scope> {
    if let Some(pid) = args.pid.iter().find(|pid| !source::process_exists(**pid)) {
        bail!("no process has the pid {pid}\n  remedy: look it up (ps, pgrep, tasklist), or use --comm NAME");
    }
    let netns = match args.netns {
        NetnsArg::All => None,
        NetnsArg::Own => Some(filter_targets::own_netns()?),
        NetnsArg::Inode(inode) => Some(filter_targets::known_netns(inode)?),
    };
    let cgroup = args.cgroup.as_deref().map(filter_targets::known_cgroup).transpose()?;
    Ok(Scope { netns, cgroup, ..args.scope() })
}

/// Without the pools outside the scope.
pub(super) fn in_scope(capture: &Capture, scope: &Scope) -> Capture {
    let mut capture = capture.clone();
    capture.pools.retain(|pool, _| scope.takes(*pool));
    capture
}
