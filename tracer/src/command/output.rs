//! Where the results go and in which form, and what they mean for the exit code.

use crate::cli::{Format, OutputArgs};
use crate::event::Capture;
use crate::exit;
use crate::pipeline::Outcome;
use crate::sink::json::JsonSink;
use crate::sink::text::{Paint, ProgressLine, TextOptions, TextSink};
use crate::sink::{Sink, Writer};
use crate::symbols::Symbols;
use jiff::tz::TimeZone;
use std::io::{self, IsTerminal};

/// Before anything starts: an output that cannot be written must not cost a trace.
pub(super) fn open_writer(args: &OutputArgs) -> anyhow::Result<Writer> {
    Ok(Writer::open(args.output.as_deref())?)
}

/// What the output is about.
pub(super) struct Subject<'a> {
    pub(super) capture: &'a Capture,
    pub(super) symbols: Symbols,
    pub(super) buffer_bytes: Option<u32>,
    /// The command that shows in detail what is limited.
    pub(super) limits_by: &'static str,
}

/// For this machine, and for what was recorded elsewhere.
pub(super) const BY_DOCTOR: &str = "portleak doctor";
pub(super) const BY_VERBOSE: &str = "replay it with -v";

pub(super) fn open_sink(
    args: &OutputArgs,
    writer: Writer,
    subject: Subject<'_>,
    progress: Option<ProgressLine>,
) -> Box<dyn Sink> {
    if args.format == Format::Json {
        return Box::new(JsonSink::new(writer, subject.capture, subject.symbols, args.quiet));
    }
    let no_color = args.no_color || std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
    let options = TextOptions {
        paint: Paint::new(writer.is_terminal() && !no_color),
        summary_only: args.quiet,
        verbose: args.verbose,
        buffer_bytes: subject.buffer_bytes,
        limits_by: subject.limits_by,
        zone: TimeZone::system(),
    };
    Box::new(TextSink::new(writer, progress, subject.capture, subject.symbols, options))
}

pub(super) fn progress_line(args: &OutputArgs) -> Option<ProgressLine> {
    let wanted = args.format == Format::Text && !args.quiet && io::stderr().is_terminal();
    wanted.then(|| ProgressLine::new(Box::new(io::stderr())))
}

/// `--fail-on-leak` outranks every other status.
pub(super) fn leak_or(args: &OutputArgs, outcome: &Outcome, code: u8) -> u8 {
    if args.fail_on_leak && outcome.summary.worst().fails() { exit::LEAK } else { code }
}
