//! `portleak trace`.

use super::capture::{config, create_recording, header, in_scope, listen, open_source};
use super::report::{BY_DOCTOR, Subject, leak_or, open_sink, open_writer, progress_line};
use crate::cli::Trace;
use crate::exit;
use crate::pipeline::session;
use crate::source::{Source, Stacks};
use crate::symbols::Symbols;

#[tokio::main(flavor = "current_thread")]
pub(super) async fn execute(args: &Trace) -> anyhow::Result<u8> {
    let symbols = Symbols::default();
    let writer = open_writer(&args.output)?;
    let recording = create_recording(&args.record, &symbols)?;
    let mut signals = listen()?;
    let config = config(&args.capture)?;
    let mut source = open_source(&args.capture, Stacks::Kernel)?;
    let capture = in_scope(source.capture(), &config.scope);
    let subject =
        Subject { capture: &capture, symbols, buffer_bytes: Some(args.capture.buffer), limits_by: BY_DOCTOR };
    let mut sink = open_sink(&args.output, writer, subject, progress_line(&args.output));
    let recording = recording.map(|file| (file, header(&source, &args.capture, &[])));
    let duration = args.capture.duration;
    let summary =
        session::trace_machine(&mut source, config, duration, &mut signals, &mut *sink, recording).await?;
    Ok(leak_or(&args.output, &summary, exit::OK))
}
