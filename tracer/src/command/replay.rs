//! `portleak replay`: a recording of portleak, or an event trace of Windows.

use super::capture::in_scope;
use super::report::{BY_VERBOSE, Subject, leak_or, open_sink, open_writer};
use crate::cli::{ProfileArg, Replay};
use crate::engine::Config;
use crate::exit;
use crate::pipeline::replay;
use crate::sink::Writer;
use crate::source::Source;
use crate::source::file::{self, Replayed};
use crate::source::windows::etl::Trace as EventTrace;
use crate::symbols::Symbols;

pub(super) fn execute(args: &Replay) -> anyhow::Result<u8> {
    let writer = open_writer(&args.output)?;
    let mut reader = match file::open(&args.file)? {
        Replayed::Recording(reader) => reader,
        Replayed::Trace(trace) => return replay_trace(args, *trace, writer),
    };
    let header = reader.header().clone();
    let config = match args.profile.map(ProfileArg::profile) {
        Some(profile) => Config { profile, thresholds: None, ..header.config },
        None => header.config,
    };
    let capture = in_scope(&header.capture, &config.scope);
    let symbols = Symbols::recorded(reader.take_names());
    let subject = Subject {
        capture: &capture,
        symbols,
        buffer_bytes: Some(header.buffer_bytes),
        limits_by: BY_VERBOSE,
    };
    let mut sink = open_sink(&args.output, writer, subject, None);
    let summary = replay::replay(&mut reader, config, &mut *sink)?;
    for flaw in reader.flaws().to_string().lines() {
        log::warn!("{}: {flaw}", args.file.display());
    }
    let code = if reader.flaws().is_damaged() { exit::FAILURE } else { exit::OK };
    Ok(leak_or(&args.output, &summary, code))
}

fn replay_trace(args: &Replay, mut trace: EventTrace, writer: Writer) -> anyhow::Result<u8> {
    let profile = args.profile.map(ProfileArg::profile).unwrap_or_default();
    let config = Config { profile, ..Config::default() };
    let capture = trace.capture().clone();
    let subject =
        Subject { capture: &capture, symbols: Symbols::default(), buffer_bytes: None, limits_by: BY_VERBOSE };
    let mut sink = open_sink(&args.output, writer, subject, None);
    let summary = replay::trace(&mut trace, config, &mut *sink)?;
    let damage = trace.damage();
    if let Some(damage) = &damage {
        log::warn!("{}: {damage}", args.file.display());
    }
    let code = if damage.is_some() { exit::FAILURE } else { exit::OK };
    Ok(leak_or(&args.output, &summary, code))
}
