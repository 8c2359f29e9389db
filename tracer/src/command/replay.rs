//! `portleak replay`: a recording of portleak, or an event trace of Windows.

use super::capture::in_scope;
use super::output::{BY_VERBOSE, Subject, leak_or, open_sink, open_writer};
use crate::cli::{ProfileArg, Replay};
use crate::engine::Config;
use crate::exit;
use crate::pipeline::intake::Reading;
use crate::pipeline::{Outcome, Pace, Setup, session};
use crate::recording::Reader;
use crate::sink::Writer;
use crate::source::Source;
use crate::source::file::{self, Replayed};
use crate::source::windows::etl::Trace as EventTrace;
use crate::symbols::Symbols;
use std::fs::File;

pub(super) fn execute(args: &Replay) -> anyhow::Result<u8> {
    let writer = open_writer(&args.output)?;
    match file::open(&args.file)? {
        Replayed::Recording(reader) => recording(args, *reader, writer),
        Replayed::Trace(trace) => event_trace(args, *trace, writer),
    }
}

fn recording(args: &Replay, mut reader: Reader<File>, writer: Writer) -> anyhow::Result<u8> {
    let header = reader.header().clone();
    let config = match args.profile.map(ProfileArg::profile) {
        Some(profile) => Config { profile, thresholds: None, ..header.config },
        None => header.config,
    };
    let symbols = Symbols::recorded(reader.take_names());
    let mut reading = Reading::new(reader);
    let outcome = judge(args, &mut reading, config, symbols, Some(header.buffer_bytes), writer)?;
    let flaws = reading.source().flaws();
    for flaw in flaws.to_string().lines() {
        log::warn!("{}: {flaw}", args.file.display());
    }
    let code = if flaws.is_damaged() { exit::FAILURE } else { exit::OK };
    Ok(leak_or(&args.output, &outcome, code))
}

fn event_trace(args: &Replay, trace: EventTrace, writer: Writer) -> anyhow::Result<u8> {
    let profile = args.profile.map(ProfileArg::profile).unwrap_or_default();
    let config = Config { profile, ..Config::default() };
    let mut reading = Reading::new(trace);
    let outcome = judge(args, &mut reading, config, Symbols::default(), None, writer)?;
    let damage = reading.source().damage();
    if let Some(damage) = &damage {
        log::warn!("{}: {damage}", args.file.display());
    }
    let code = if damage.is_some() { exit::FAILURE } else { exit::OK };
    Ok(leak_or(&args.output, &outcome, code))
}

fn judge<S: Source>(
    args: &Replay,
    reading: &mut Reading<S>,
    config: Config,
    symbols: Symbols,
    buffer_bytes: Option<u32>,
    writer: Writer,
) -> anyhow::Result<Outcome> {
    let subject = Subject {
        capture: &in_scope(reading.source().capture(), &config.scope),
        symbols: symbols.clone(),
        buffer_bytes,
        limits_by: BY_VERBOSE,
    };
    let sinks = vec![open_sink(&args.output, writer, subject, None)];
    let began_ns = reading.source().began_ns();
    let setup = Setup { config, began_ns, sinks, recording: None, symbols, pace: Pace::File };
    Ok(session::replay(reading, setup)?)
}
