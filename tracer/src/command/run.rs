//! `portleak run`.

use super::capture::{config, create_recording, head, in_scope, listen, open_source};
use super::report::{BY_DOCTOR, Subject, leak_or, open_output, open_sink};
use crate::cli::Run;
use crate::os::exit_code;
use crate::pipeline::session::{self, Plan};
use crate::source::{Source, Stacks};
use crate::symbols::Symbols;

#[tokio::main(flavor = "current_thread")]
pub(super) async fn execute(args: Run) -> anyhow::Result<u8> {
    let sink = open_sink(&args.output)?;
    let recording = create_recording(&args.record)?;
    let mut signals = listen()?;
    let config = config(&args.capture)?;
    let mut source = open_source(&args.capture, Stacks::All)?;
    let capture = in_scope(source.capture(), &config.scope);
    let subject = Subject {
        capture: &capture,
        symbols: Symbols::default(),
        buffer_bytes: Some(args.capture.buffer),
        limits_by: BY_DOCTOR,
    };
    // The terminal is the command's: no progress line.
    let mut output = open_output(&args.output, sink, subject, None);
    let recording = recording.map(|file| (file, head(&source, &args.capture, &args.command)));
    let plan = Plan { command: args.command, linger: args.linger, duration: args.capture.duration };
    let (summary, status) =
        session::run_command(&mut source, config, &plan, &mut signals, &mut *output, recording).await?;
    Ok(leak_or(&args.output, &summary, exit_code(status)))
}
