//! `portleak replay`: a recording of portleak, or an event trace of Windows.

use super::capture::in_scope;
use super::report::{BY_VERBOSE, Subject, leak_or, open_output, open_sink};
use crate::cli::{ProfileArg, Replay};
use crate::engine::Config;
use crate::exit;
use crate::output::Sink;
use crate::pipeline::replay;
use crate::source::Source;
use crate::source::file::{self, Replayed};
use crate::source::windows::etl::Trace as EventTrace;
use crate::symbols::Symbols;

pub(super) fn execute(args: &Replay) -> anyhow::Result<u8> {
    let sink = open_sink(&args.output)?;
    let mut reader = match file::open(&args.file)? {
        Replayed::Recording(reader) => reader,
        Replayed::Trace(trace) => return replay_trace(args, *trace, sink),
    };
    let head = reader.head().clone();
    let config = match args.profile.map(ProfileArg::profile) {
        Some(profile) => Config { profile, thresholds: None, ..head.config },
        None => head.config,
    };
    let capture = in_scope(&head.capture, &config.scope);
    let symbols = Symbols::Recorded(reader.take_names());
    let subject =
        Subject { capture: &capture, symbols, buffer_bytes: Some(head.buffer_bytes), limits_by: BY_VERBOSE };
    let mut output = open_output(&args.output, sink, subject, None);
    let summary = replay::replay(&mut reader, config, &mut *output)?;
    for flaw in reader.flaws().to_string().lines() {
        log::warn!("{}: {flaw}", args.file.display());
    }
    let code = if reader.flaws().is_damaged() { exit::FAILURE } else { exit::OK };
    Ok(leak_or(&args.output, &summary, code))
}

fn replay_trace(args: &Replay, mut trace: EventTrace, sink: Sink) -> anyhow::Result<u8> {
    let profile = args.profile.map(ProfileArg::profile).unwrap_or_default();
    let config = Config { profile, ..Config::default() };
    let capture = trace.capture().clone();
    let subject =
        Subject { capture: &capture, symbols: Symbols::default(), buffer_bytes: None, limits_by: BY_VERBOSE };
    let mut output = open_output(&args.output, sink, subject, None);
    let summary = replay::trace(&mut trace, config, &mut *output)?;
    let damage = trace.damage();
    if let Some(damage) = &damage {
        log::warn!("{}: {damage}", args.file.display());
    }
    let code = if damage.is_some() { exit::FAILURE } else { exit::OK };
    Ok(leak_or(&args.output, &summary, code))
}
