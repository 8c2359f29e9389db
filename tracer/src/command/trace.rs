//! `portleak trace`.

use super::capture::{config, create_recording, header, in_scope, listen, open_source};
use super::output::{BY_DOCTOR, Subject, leak_or, open_sink, open_writer, progress_line};
use crate::cli::Trace;
use crate::exit;
use crate::pipeline::{Pace, Setup, session};
use crate::source::Stacks;
use crate::symbols::Symbols;

#[tokio::main(flavor = "current_thread")]
pub(super) async fn execute(args: &Trace) -> anyhow::Result<u8> {
    let symbols = Symbols::default();
    let writer = open_writer(&args.output)?;
    let recording = create_recording(&args.record, &symbols)?;
    let mut signals = listen()?;
    let config = config(&args.capture)?;
    let (opened, mut capturing) = open_source(&args.capture, Stacks::Kernel, &mut signals).await?;
    let subject = Subject {
        capture: &in_scope(&opened.capture, &config.scope),
        symbols: symbols.clone(),
        buffer_bytes: Some(args.capture.buffer),
        limits_by: BY_DOCTOR,
    };
    let sinks = vec![open_sink(&args.output, writer, subject, progress_line(&args.output))];
    let recording = recording.map(|file| (file, header(&opened, &args.capture, &[])));
    let began_ns = opened.began_ns;
    let setup = Setup { config, began_ns, sinks, recording, symbols, pace: Pace::Live };
    let duration = args.capture.duration;
    let outcome = session::trace_machine(&mut capturing, setup, duration, &mut signals).await?;
    Ok(leak_or(&args.output, &outcome, exit::OK))
}
