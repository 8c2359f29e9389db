//! `portleak run`.

use super::capture::{config, create_recording, header, in_scope, listen, open_source};
use super::output::{BY_DOCTOR, Subject, leak_or, open_sink, open_writer};
use crate::cli::Run;
use crate::os::exit_code;
use crate::pipeline::session::{self, Plan};
use crate::pipeline::{Pace, Setup};
use crate::source::Stacks;
use crate::symbols::Symbols;

#[tokio::main(flavor = "current_thread")]
pub(super) async fn execute(args: Run) -> anyhow::Result<u8> {
    let symbols = Symbols::default();
    let writer = open_writer(&args.output)?;
    let recording = create_recording(&args.record, &symbols)?;
    let mut signals = listen()?;
    let config = config(&args.capture)?;
    let (opened, mut capturing) = open_source(&args.capture, Stacks::All, &mut signals).await?;
    let subject = Subject {
        capture: &in_scope(&opened.capture, &config.scope),
        symbols: symbols.clone(),
        buffer_bytes: Some(args.capture.buffer),
        limits_by: BY_DOCTOR,
    };
    // The terminal is the command's: no progress line.
    let sinks = vec![open_sink(&args.output, writer, subject, None)];
    let recording = recording.map(|file| (file, header(&opened, &args.capture, &args.command)));
    // The command begins after this.
    let began_ns = opened.now_ns;
    let setup = Setup { config, began_ns, sinks, recording, symbols, pace: Pace::Live };
    let plan = Plan { command: args.command, linger: args.linger, duration: args.capture.duration };
    let (outcome, status) = session::run_command(&mut capturing, setup, &plan, &mut signals).await?;
    Ok(leak_or(&args.output, &outcome, exit_code(status)))
}
