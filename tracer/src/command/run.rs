//! `portleak run`.

use super::capture::{config, create_recording, header, in_scope, listen, open_source};
use super::report::{BY_DOCTOR, Subject, leak_or, open_sink, open_writer};
use crate::cli::Run;
use crate::os::exit_code;
use crate::pipeline::session::{self, Plan};
use crate::source::{Source, Stacks};
use crate::symbols::Symbols;

#[tokio::main(flavor = "current_thread")]
pub(super) async fn execute(args: Run) -> anyhow::Result<u8> {
    let symbols = Symbols::default();
    let writer = open_writer(&args.output)?;
    let recording = create_recording(&args.record, &symbols)?;
    let mut signals = listen()?;
    let config = config(&args.capture)?;
    let mut source = open_source(&args.capture, Stacks::All)?;
    let capture = in_scope(source.capture(), &config.scope);
    let subject =
        Subject { capture: &capture, symbols, buffer_bytes: Some(args.capture.buffer), limits_by: BY_DOCTOR };
    // The terminal is the command's: no progress line.
    let mut sink = open_sink(&args.output, writer, subject, None);
    let recording = recording.map(|file| (file, header(&source, &args.capture, &args.command)));
    let plan = Plan { command: args.command, linger: args.linger, duration: args.capture.duration };
    let (summary, status) =
        session::run_command(&mut source, config, &plan, &mut signals, &mut *sink, recording).await?;
    Ok(leak_or(&args.output, &summary, exit_code(status)))
}
