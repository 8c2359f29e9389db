//! The two ways to trace: the whole machine, or one command.

use super::{Desk, TraceError, trace};
use crate::engine::report::Summary;
use crate::engine::{Config, Engine};
use crate::exit;
use crate::os::Signal;
use crate::os::child::{Child, SpawnError};
use crate::os::signals::Signals;
use crate::recording::{Header, Recording};
use crate::sink::{Sink, SinkError};
use crate::source::{OneShot, Source};
use std::ffi::OsString;
use std::io;
use std::pin::pin;
use std::process::ExitStatus;
use std::time::Duration;
use tokio::time::sleep;

/// What `portleak run` runs, and for how long.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The program, then its arguments.
    pub command: Vec<OsString>,
    /// How long to trace on after it has ended.
    pub linger: Duration,
    /// How long to trace at most.
    pub duration: Option<Duration>,
}

/// `portleak run` failed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The command could not be started.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// Tracing failed.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// The command's status could not be learnt.
    #[error("cannot learn how the command ended: {0}")]
    Wait(#[source] io::Error),
}

impl RunError {
    /// portleak's exit code.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Spawn(error) => error.exit_code(),
            Self::Trace(_) | Self::Wait(_) => exit::RUN_FAILURE,
        }
    }
}

/// Traces the machine until a signal, or for `duration`.
///
/// # Errors
/// When the source broke, or the output or the recording cannot be written.
pub async fn trace_machine<S: Source>(
    source: &mut S,
    config: Config,
    duration: Option<Duration>,
    signals: &mut impl Signals,
    output: &mut dyn Sink,
    recording: Option<(Recording, Header)>,
) -> Result<Summary, TraceError> {
    let desk = Desk::new(config, source.began_ns(), output, recording);
    let until = async {
        tokio::select! {
            _ = signals.next() => {}
            () = elapsed(duration) => {}
        }
        signals.release();
    };
    let (summary, ()) = trace(source, desk, until).await?;
    Ok(summary)
}

/// Tells who held what at one instant.
///
/// # Errors
/// When the output cannot be written.
pub fn tell_picture(picture: &OneShot, config: Config, output: &mut dyn Sink) -> Result<(), SinkError> {
    let mut engine = Engine::new(config, picture.at_ns);
    for event in &picture.events {
        engine.apply(event);
    }
    output.snapshot(&engine.summary(picture.at_ns))
}

/// Runs a command and traces it and its descendants until it ends. It does not outlive the call.
///
/// # Errors
/// When the command cannot be started, the source broke, or the output or the recording cannot be
/// written.
pub async fn run_command<S: Source>(
    source: &mut S,
    mut config: Config,
    plan: &Plan,
    signals: &mut impl Signals,
    output: &mut dyn Sink,
    recording: Option<(Recording, Header)>,
) -> Result<(Summary, ExitStatus), RunError> {
    // The engine needs the pid, and the child may take ports at once: so the engine begins at an
    // instant before the child, and the source holds its events until the first drain.
    let began_ns = source.now_ns();
    // The mark is set by this thread's fork, before the child can run.
    source.mark_children(true);
    let spawned = Child::spawn(&plan.command);
    source.mark_children(false);
    let mut child = spawned?;
    config.scope.descendants_of = Some(child.pid());
    let desk = Desk::new(config, began_ns, output, recording);
    let until = async {
        enough(&mut child, plan, signals).await;
        signals.release();
    };
    let traced = trace(source, desk, until).await;
    let status = child.end().await;
    let (summary, ()) = traced?;
    Ok((summary, status.map_err(RunError::Wait)?))
}

/// Completes when the command has ended and lingered, its time is up, or at the second Ctrl-C.
/// The first is the command's to obey.
async fn enough(child: &mut Child, plan: &Plan, signals: &mut impl Signals) {
    let mut time_is_up = pin!(elapsed(plan.duration));
    let mut interrupted = false;
    loop {
        tokio::select! {
            // A failure to wait is told by Child::end.
            _ = child.wait() => break,
            () = &mut time_is_up => return,
            signal = signals.next() => match signal {
                Signal::Terminate => child.send(signal),
                Signal::Interrupt if interrupted => return,
                Signal::Interrupt => {
                    interrupted = true;
                    if !signals.shared_with_child() {
                        child.send(signal);
                    }
                }
            },
        }
    }
    tokio::select! {
        () = sleep(plan.linger) => {}
        () = &mut time_is_up => {}
        _ = signals.next() => {}
    }
}

/// Completes after `duration`, or never.
async fn elapsed(duration: Option<Duration>) {
    match duration {
        Some(duration) => sleep(duration).await,
        None => std::future::pending().await,
    }
}
