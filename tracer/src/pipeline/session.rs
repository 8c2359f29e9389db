//! The ways to trace: the whole machine, one command, a file, or one instant.

use super::capture::{Capturing, ended_early, no_thread};
use super::intake::Reading;
use super::{Hub, Outcome, Pace, Patience, Setup, TraceError, trace};
use crate::engine::{Config, Engine};
use crate::exit;
use crate::os::Signal;
use crate::os::child::{Child, SpawnError};
use crate::os::signals::Signals;
use crate::sink::{LoopLag, Sink, SinkError};
use crate::source::{OneShot, Source};
use crate::symbols::Symbols;
use std::ffi::OsString;
use std::io;
use std::pin::pin;
use std::process::ExitStatus;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
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
/// When the source broke, or a sink or the recording cannot be written.
pub async fn trace_machine(
    capturing: &mut Capturing,
    setup: Setup,
    duration: Option<Duration>,
    signals: &mut impl Signals,
) -> Result<Outcome, TraceError> {
    let hub = Hub::start(setup)?;
    capturing.begin();
    let until = async {
        let patience = tokio::select! {
            _ = signals.next() => Patience::Short,
            () = elapsed(duration) => Patience::Long,
        };
        signals.release();
        patience
    };
    trace(capturing, hub, until).await
}

/// How late the loop is on this machine now, traced for `duration`; `None` when nothing happened.
///
/// # Errors
/// When the source broke.
pub async fn measure_lag(
    capturing: &mut Capturing,
    began_ns: u64,
    duration: Duration,
) -> Result<Option<LoopLag>, TraceError> {
    let hub = Hub::start(Setup {
        config: Config::default(),
        began_ns,
        sinks: Vec::new(),
        recording: None,
        symbols: Symbols::default(),
        pace: Pace::Live,
    })?;
    capturing.begin();
    let until = async {
        sleep(duration).await;
        Patience::Short
    };
    Ok(trace(capturing, hub, until).await?.completeness.loop_lag)
}

/// Judges a file, as fast as it can be read.
///
/// # Errors
/// When the file or a sink broke.
pub fn replay<S: Source>(reading: &mut Reading<S>, setup: Setup) -> Result<Outcome, TraceError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.map_err(|error| no_thread(&error))?;
    runtime.block_on(trace(reading, Hub::start(setup)?, std::future::pending()))
}

/// Shows who held what at one instant.
///
/// # Errors
/// When the output cannot be written.
pub fn show_one_shot(shot: &OneShot, config: Config, sink: &mut dyn Sink) -> Result<(), SinkError> {
    let mut engine = Engine::new(config, shot.at_ns);
    for event in &shot.events {
        engine.apply(event);
    }
    sink.snapshot(&engine.summary(shot.at_ns))
}

/// Runs a command and traces it and its descendants until it ends. It does not outlive the call.
///
/// # Errors
/// When the command cannot be started, the source broke, or a sink or the recording cannot be
/// written.
pub async fn run_command(
    capturing: &mut Capturing,
    mut setup: Setup,
    plan: &Plan,
    signals: &mut impl Signals,
) -> Result<(Outcome, ExitStatus), RunError> {
    // The engine needs the pid, and the child may take ports at once: so the engine begins at an
    // instant before the child, and the source keeps its events until the capture begins.
    let mut child = spawn(capturing, plan.command.clone()).await?;
    signals.set_child(Some(child.pid()));
    setup.config.scope.descendants_of = Some(child.pid());
    let traced = trace_child(capturing, setup, plan, &mut child, signals).await;
    let status = child.end().await;
    Ok((traced?, status.map_err(RunError::Wait)?))
}

/// Starts the command on the capture's thread: the source marks what that thread starts, before it
/// can run.
async fn spawn(capturing: &Capturing, command: Vec<OsString>) -> Result<Child, RunError> {
    let (report, spawned) = oneshot::channel();
    let runtime = Handle::current();
    capturing.with_marked_children(move || {
        let _inside = runtime.enter();
        let _ = report.send(Child::spawn(&command));
    });
    let spawned = spawned.await.map_err(|_| TraceError::Source(ended_early()))?;
    Ok(spawned?)
}

async fn trace_child(
    capturing: &mut Capturing,
    setup: Setup,
    plan: &Plan,
    child: &mut Child,
    signals: &mut impl Signals,
) -> Result<Outcome, TraceError> {
    let hub = Hub::start(setup)?;
    capturing.begin();
    let until = async {
        let patience = enough(child, plan, signals).await;
        signals.release();
        patience
    };
    trace(capturing, hub, until).await
}

/// Completes when the command has ended and lingered, its time is up, or at the second signal. The
/// first is the command's to obey.
async fn enough(child: &mut Child, plan: &Plan, signals: &mut impl Signals) -> Patience {
    let mut time_is_up = pin!(elapsed(plan.duration));
    let mut signalled = false;
    loop {
        tokio::select! {
            // A failure to wait is returned by Child::end.
            _ = child.wait() => {
                signals.set_child(None);
                break;
            }
            () = &mut time_is_up => return Patience::Long,
            signal = signals.next() => {
                if signalled {
                    return Patience::Short;
                }
                signalled = true;
                if signal == Signal::Terminate || !signals.shared_with_child() {
                    child.send(signal);
                }
            }
        }
    }
    let patience = if signalled { Patience::Short } else { Patience::Long };
    tokio::select! {
        () = sleep(plan.linger) => patience,
        () = &mut time_is_up => patience,
        _ = signals.next() => Patience::Short,
    }
}

/// Completes after `duration`, or never.
async fn elapsed(duration: Option<Duration>) {
    match duration {
        Some(duration) => sleep(duration).await,
        None => std::future::pending().await,
    }
}
