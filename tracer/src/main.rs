//! `portleak`: parse, choose the source, run, exit code.

use anyhow::{Context, bail};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use portleak::cli::{
    CaptureArgs, Cli, Command, Doctor, Explain, FilterArgs, Format, NetnsArg, OutputArgs, ProfileArg,
    RecordArgs, Replay, Run, Snapshot, Trace, thresholds,
};
use portleak::engine::Config;
use portleak::engine::report::Summary;
use portleak::engine::scope::Scope;
use portleak::event::Capture;
use portleak::exit;
use portleak::explain;
use portleak::output::json::JsonOutput;
use portleak::output::text::{Paint, ProgressLine, TextOptions, TextOutput};
use portleak::output::{Output, Sink, doctor};
use portleak::recording::{Head, Recording};
use portleak::run::os::{exit_code, page_bytes};
use portleak::run::replay;
use portleak::run::session::{self, Plan, RunError};
use portleak::run::signals::OsSignals;
use portleak::source::replay::Replayed;
use portleak::source::windows::etl::Trace as EventTrace;
use portleak::source::{self, CaptureOptions, LiveSource, Source, Stacks, places};
use portleak::symbols::Symbols;
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

/// What the probes and libraries have to say besides: on standard error.
struct Diagnostics;

impl log::Log for Diagnostics {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let _ = writeln!(io::stderr(), "portleak: {}", record.args());
    }

    fn flush(&self) {}
}

fn main() -> ExitCode {
    if log::set_logger(&Diagnostics).is_ok() {
        log::set_max_level(log::LevelFilter::Warn);
    }
    let cli = match Cli::from_args(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => {
            // Help goes to standard output with 0, wrong usage to standard error.
            let _ = error.print();
            return u8::try_from(error.exit_code()).unwrap_or(exit::USAGE).into();
        }
    };
    let (ended, own_failure) = match cli.command {
        Command::Run(run) => (run_command(run), exit::RUN_FAILURE),
        Command::Trace(trace) => (trace_machine(&trace), exit::FAILURE),
        Command::Snapshot(args) => (snapshot(&args), exit::FAILURE),
        Command::Replay(args) => (replay(&args), exit::FAILURE),
        Command::Doctor(args) if args.self_test => (test_oneself(&args), exit::FAILURE),
        Command::Doctor(args) => (examine(&args), exit::FAILURE),
        Command::Explain(args) => (explain_code(&args), exit::FAILURE),
    };
    ended
        .unwrap_or_else(|error| {
            let _ = writeln!(io::stderr(), "portleak: {error:#}");
            error.downcast_ref().map_or(own_failure, RunError::exit_code)
        })
        .into()
}

#[tokio::main(flavor = "current_thread")]
async fn run_command(args: Run) -> anyhow::Result<u8> {
    let sink = open_sink(&args.output)?;
    let recording = create_recording(&args.record)?;
    let mut signals = listen()?;
    let config = config(&args.capture)?;
    let mut source = open_source(&args.capture, Stacks::All)?;
    let capture = in_scope(source.capture(), &config.scope);
    // The terminal is the command's: no progress line.
    let told = Told {
        capture: &capture,
        symbols: Symbols::default(),
        buffer_bytes: Some(args.capture.buffer),
        limits_by: BY_DOCTOR,
    };
    let mut output = open_output(&args.output, sink, told, None);
    let recording = recording.map(|file| (file, head(&source, &args.capture, &args.command)));
    let plan = Plan { command: args.command, linger: args.linger, duration: args.capture.duration };
    let (summary, status) =
        session::run_command(&mut source, config, &plan, &mut signals, &mut *output, recording).await?;
    Ok(leak_or(&args.output, &summary, exit_code(status)))
}

#[tokio::main(flavor = "current_thread")]
async fn trace_machine(args: &Trace) -> anyhow::Result<u8> {
    let sink = open_sink(&args.output)?;
    let recording = create_recording(&args.record)?;
    let mut signals = listen()?;
    let config = config(&args.capture)?;
    let mut source = open_source(&args.capture, Stacks::Kernel)?;
    let capture = in_scope(source.capture(), &config.scope);
    let told = Told {
        capture: &capture,
        symbols: Symbols::default(),
        buffer_bytes: Some(args.capture.buffer),
        limits_by: BY_DOCTOR,
    };
    let mut output = open_output(&args.output, sink, told, progress_line(&args.output));
    let recording = recording.map(|file| (file, head(&source, &args.capture, &[])));
    let duration = args.capture.duration;
    let summary =
        session::trace_machine(&mut source, config, duration, &mut signals, &mut *output, recording).await?;
    Ok(leak_or(&args.output, &summary, exit::OK))
}

fn snapshot(args: &Snapshot) -> anyhow::Result<u8> {
    let sink = open_sink(&args.output)?;
    let config = Config { scope: scope(&args.filter)?, ..Config::default() };
    let picture = source::picture()?;
    let capture = in_scope(&picture.capture, &config.scope);
    let told = Told {
        capture: &capture,
        symbols: Symbols::default(),
        buffer_bytes: Some(page_bytes()),
        limits_by: BY_DOCTOR,
    };
    let mut output = open_output(&args.output, sink, told, None);
    session::tell_picture(&picture, config, &mut *output)?;
    Ok(exit::OK)
}

fn replay(args: &Replay) -> anyhow::Result<u8> {
    let sink = open_sink(&args.output)?;
    let mut reader = match source::replay::open(&args.file)? {
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
    let told =
        Told { capture: &capture, symbols, buffer_bytes: Some(head.buffer_bytes), limits_by: BY_VERBOSE };
    let mut output = open_output(&args.output, sink, told, None);
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
    let told =
        Told { capture: &capture, symbols: Symbols::default(), buffer_bytes: None, limits_by: BY_VERBOSE };
    let mut output = open_output(&args.output, sink, told, None);
    let summary = replay::trace(&mut trace, config, &mut *output)?;
    let damage = trace.damage();
    if let Some(damage) = &damage {
        log::warn!("{}: {damage}", args.file.display());
    }
    let code = if damage.is_some() { exit::FAILURE } else { exit::OK };
    Ok(leak_or(&args.output, &summary, code))
}

#[tokio::main(flavor = "current_thread")]
async fn examine(args: &Doctor) -> anyhow::Result<u8> {
    let mut sink = Sink::open(None)?;
    let mut source = source::open(&CaptureOptions { buffer_bytes: page_bytes(), stacks: Stacks::default() })?;
    let now_ns = source.now_ns();
    let advice = source::advice();
    match args.format {
        Format::Text => doctor::text(source.capture(), &advice, &mut sink)?,
        Format::Json => doctor::json(source.capture(), &advice, now_ns, &mut sink)?,
    }
    source.stop(&mut Vec::new())?;
    Ok(exit::OK)
}

fn test_oneself(args: &Doctor) -> anyhow::Result<u8> {
    let mut sink = Sink::open(None)?;
    let answers = source::self_test(args.save.as_deref(), args.wait)?;
    match args.format {
        Format::Text => doctor::answers_text(&answers, &mut sink)?,
        Format::Json => doctor::answers_json(&answers, Timestamp::now(), &mut sink)?,
    }
    Ok(exit::OK)
}

fn explain_code(args: &Explain) -> anyhow::Result<u8> {
    let text = if args.code.is_empty() {
        explain::contents()
    } else {
        explain::look_up(&args.code.join(" "))?.to_string()
    };
    Sink::open(None)?.write(text.as_bytes())?;
    Ok(exit::OK)
}

/// Before anything starts: an output that cannot be written must not cost a trace.
fn open_sink(args: &OutputArgs) -> anyhow::Result<Sink> {
    Ok(Sink::open(args.output.as_deref())?)
}

/// Likewise.
fn create_recording(args: &RecordArgs) -> anyhow::Result<Option<Recording>> {
    Ok(args.record.as_deref().map(Recording::create).transpose()?)
}

/// What a recording of `source` begins with, apart from what is known when it does.
fn head(source: &LiveSource, args: &CaptureArgs, command: &[OsString]) -> Head {
    Head {
        tool: concat!("portleak ", env!("CARGO_PKG_VERSION")).to_owned(),
        capture: source.capture().clone(),
        config: Config::default(),
        command: command.iter().map(|word| word.to_string_lossy().into_owned()).collect(),
        buffer_bytes: args.buffer,
        began_ns: 0,
    }
}

fn listen() -> anyhow::Result<OsSignals> {
    OsSignals::listen().context("cannot listen for Ctrl-C")
}

fn open_source(args: &CaptureArgs, stacks: Stacks) -> anyhow::Result<LiveSource> {
    let buffer_bytes = args.buffer.max(page_bytes());
    Ok(source::open(&CaptureOptions { buffer_bytes, stacks: args.stacks(stacks) })?)
}

fn config(args: &CaptureArgs) -> anyhow::Result<Config> {
    let profile = args.profile.profile();
    let thresholds = args.thresholds.as_deref().map(|file| thresholds::read(file, profile)).transpose()?;
    Ok(Config { profile, scope: scope(&args.filter)?, thresholds })
}

/// Who is asked for must be there: a slip must not look like a machine without leaks.
fn scope(args: &FilterArgs) -> anyhow::Result<Scope> {
    if let Some(pid) = args.pid.iter().find(|pid| !source::process_exists(**pid)) {
        bail!("no process has the pid {pid}\n  remedy: look it up (ps, pgrep, tasklist), or use --comm NAME");
    }
    let netns = match args.netns {
        NetnsArg::All => None,
        NetnsArg::Own => Some(places::own_netns()?),
        NetnsArg::Inode(inode) => Some(places::known_netns(inode)?),
    };
    let cgroup = args.cgroup.as_deref().map(places::known_cgroup).transpose()?;
    Ok(Scope { netns, cgroup, ..args.scope() })
}

/// Without the pools that nobody asked for.
fn in_scope(capture: &Capture, scope: &Scope) -> Capture {
    let mut capture = capture.clone();
    capture.pools.retain(|pool, _| scope.takes(*pool));
    capture
}

/// What is told of.
struct Told<'a> {
    capture: &'a Capture,
    symbols: Symbols,
    buffer_bytes: Option<u32>,
    /// What tells more of what is limited.
    limits_by: &'static str,
}

/// Of this machine, and of what was recorded elsewhere.
const BY_DOCTOR: &str = "portleak doctor";
const BY_VERBOSE: &str = "replay it with -v";

fn open_output(
    args: &OutputArgs,
    sink: Sink,
    told: Told<'_>,
    progress: Option<ProgressLine>,
) -> Box<dyn Output> {
    if args.format == Format::Json {
        return Box::new(JsonOutput::new(sink, told.capture, told.symbols, args.quiet));
    }
    let no_color = args.no_color || std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
    let options = TextOptions {
        paint: Paint::new(sink.is_terminal() && !no_color),
        summary_only: args.quiet,
        verbose: args.verbose,
        buffer_bytes: told.buffer_bytes,
        limits_by: told.limits_by,
        zone: TimeZone::system(),
    };
    Box::new(TextOutput::new(sink, progress, told.capture, told.symbols, options))
}

fn progress_line(args: &OutputArgs) -> Option<ProgressLine> {
    let wanted = args.format == Format::Text && !args.quiet && io::stderr().is_terminal();
    wanted.then(|| ProgressLine::new(Box::new(io::stderr())))
}

/// `--fail-on-leak` outranks every other status.
fn leak_or(args: &OutputArgs, summary: &Summary, code: u8) -> u8 {
    if args.fail_on_leak && summary.worst().fails() { exit::LEAK } else { code }
}
