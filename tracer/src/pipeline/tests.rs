//! The loop with a scripted source: time is tokio's, which stands still until awaited.

use super::session::trace_machine;
use super::*;
use crate::engine::Config;
use crate::engine::report::{Finding, Progress};
use crate::event::{Capture, Event, EventKind};
use crate::os::Signal;
use crate::os::signals::Signals;
use crate::sink::{Sink, fixtures};
use std::collections::VecDeque;
use tokio::time::Instant;

/// Delivers one event at each of its instants, in seconds, then breaks if it shall.
struct Script {
    capture: Capture,
    began: Instant,
    left: VecDeque<f64>,
    breaks: bool,
    stopped: bool,
}

impl Script {
    fn new(instants: &[f64]) -> Self {
        Self {
            capture: fixtures::capture(),
            began: Instant::now(),
            left: instants.iter().copied().collect(),
            breaks: false,
            stopped: false,
        }
    }

    fn due(&self) -> Option<Instant> {
        let seconds = self.left.front()?;
        Some(self.began + Duration::from_secs_f64(*seconds))
    }
}

impl Source for Script {
    fn capture(&self) -> &Capture {
        &self.capture
    }

    fn now_ns(&self) -> u64 {
        fixtures::at(self.began.elapsed().as_secs_f64())
    }

    async fn ready(&mut self) {
        match self.due() {
            Some(due) => tokio::time::sleep_until(due).await,
            None => std::future::pending().await,
        }
    }

    fn drain(&mut self, events: &mut Vec<Event>) -> Result<(), SourceError> {
        while self.due().is_some_and(|due| due <= Instant::now()) {
            self.left.pop_front();
            events.push(Event { at_ns: self.now_ns(), kind: EventKind::ResyncBegan });
        }
        if self.breaks && self.left.is_empty() {
            return Err(SourceError {
                what: "the ring buffer is gone".to_owned(),
                remedy: "start again".to_owned(),
            });
        }
        Ok(())
    }

    fn stop(&mut self, events: &mut Vec<Event>) -> Result<(), SourceError> {
        self.stopped = true;
        self.breaks = false;
        self.drain(events)
    }
}

/// Remembers what it was told; fails at the call named.
#[derive(Default)]
struct Recorder {
    calls: Vec<&'static str>,
    progress_ns: Vec<u64>,
    fails_at: Option<&'static str>,
}

impl Recorder {
    fn call(&mut self, name: &'static str) -> Result<(), SinkError> {
        self.calls.push(name);
        if self.fails_at == Some(name) {
            let name = "standard output".to_owned();
            return Err(SinkError::Closed { name });
        }
        Ok(())
    }
}

impl Sink for Recorder {
    fn start(&mut self, _: u64) -> Result<(), SinkError> {
        self.call("start")
    }

    fn finding(&mut self, _: &Finding) -> Result<(), SinkError> {
        self.call("finding")
    }

    fn progress(&mut self, _: &Progress, now_ns: u64) {
        self.progress_ns.push(now_ns);
    }

    fn summary(&mut self, _: &Summary) -> Result<(), SinkError> {
        self.call("summary")
    }
}

/// Signals at their instants, in seconds from the first wait.
#[derive(Default)]
struct Said {
    left: VecDeque<(f64, Signal)>,
    released: bool,
}

impl Said {
    fn at(signals: &[(f64, Signal)]) -> Self {
        Self { left: signals.iter().copied().collect(), released: false }
    }
}

impl Signals for Said {
    async fn next(&mut self) -> Signal {
        match self.left.front().copied() {
            Some((seconds, signal)) => {
                sleep(Duration::from_secs_f64(seconds)).await;
                self.left.pop_front();
                signal
            }
            None => std::future::pending().await,
        }
    }

    fn release(&mut self) {
        self.released = true;
    }

    fn shared_with_child(&self) -> bool {
        true
    }
}

#[tokio::test(start_paused = true)]
async fn duration_ends_the_trace_and_nothing_is_left_in_the_source() {
    let mut source = Script::new(&[0.5, 1.5, 1.5, 2.999]);
    let (mut signals, mut output) = (Said::default(), Recorder::default());
    let duration = Some(Duration::from_secs(3));
    trace_machine(&mut source, Config::default(), duration, &mut signals, &mut output, None).await.unwrap();
    assert_eq!(output.calls.first(), Some(&"start"));
    assert_eq!(output.calls.last(), Some(&"summary"));
    assert!(source.stopped && source.left.is_empty());
    assert_eq!(source.now_ns(), fixtures::at(3.0));
    // 0, 250 ms, … 2,750 ms.
    assert_eq!(output.progress_ns.len(), 12);
}

#[tokio::test(start_paused = true)]
async fn the_first_ctrl_c_prints_the_summary_and_the_second_is_the_systems() {
    let mut source = Script::new(&[]);
    let mut signals = Said::at(&[(1.0, Signal::Interrupt)]);
    let mut output = Recorder::default();
    trace_machine(&mut source, Config::default(), None, &mut signals, &mut output, None).await.unwrap();
    assert_eq!(output.calls, ["start", "summary"]);
    assert!(signals.released);
}

#[tokio::test(start_paused = true)]
async fn a_busy_source_does_not_starve_the_end() {
    let mut source = Script::new(&[0.0; 1000]);
    source.left.extend((0..100_000).map(|i| f64::from(i) / 1e5));
    let duration = Some(Duration::from_millis(500));
    let (mut signals, mut output) = (Said::default(), Recorder::default());
    trace_machine(&mut source, Config::default(), duration, &mut signals, &mut output, None).await.unwrap();
    assert_eq!(source.now_ns(), fixtures::at(0.5));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_breaks_still_gets_its_summary() {
    let mut source = Script::new(&[1.0]);
    source.breaks = true;
    let (mut signals, mut output) = (Said::default(), Recorder::default());
    let error = trace_machine(&mut source, Config::default(), None, &mut signals, &mut output, None)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("the ring buffer is gone"));
    assert_eq!(output.calls, ["start", "summary"]);
}

#[tokio::test(start_paused = true)]
async fn an_output_that_closes_ends_the_trace() {
    let mut source = Script::new(&[]);
    let mut signals = Said::default();
    let mut output = Recorder { fails_at: Some("start"), ..Recorder::default() };
    let error = trace_machine(&mut source, Config::default(), None, &mut signals, &mut output, None)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("closed early"));
    assert_eq!(output.calls, ["start"]);
}

#[cfg(unix)]
mod with_a_command {
    use super::*;
    use crate::exit;
    use crate::os;
    use crate::pipeline::session::{Plan, run_command};

    fn plan(line: &[&str]) -> Plan {
        Plan { command: line.iter().map(Into::into).collect(), linger: Duration::ZERO, duration: None }
    }

    async fn code(plan: &Plan, signals: &mut Said) -> u8 {
        let mut source = Script::new(&[0.0]);
        let mut output = Recorder::default();
        let ran = run_command(&mut source, Config::default(), plan, signals, &mut output, None).await;
        let (_, status) = ran.unwrap();
        assert_eq!(output.calls.last(), Some(&"summary"));
        assert!(source.stopped);
        os::exit_code(status)
    }

    #[tokio::test]
    async fn it_ends_with_the_command_and_has_its_status() {
        assert_eq!(code(&plan(&["true"]), &mut Said::default()).await, 0);
        let seven = plan(&["sh", "-c", "exit 7"]);
        assert_eq!(code(&seven, &mut Said::default()).await, 7);
    }

    #[tokio::test]
    async fn time_that_is_up_ends_the_command() {
        let mut sleeper = plan(&["sleep", "1000"]);
        sleeper.duration = Some(Duration::from_millis(20));
        assert_eq!(code(&sleeper, &mut Said::default()).await, 143);
    }

    #[tokio::test]
    async fn sigterm_is_passed_on() {
        let mut signals = Said::at(&[(0.02, Signal::Terminate)]);
        assert_eq!(code(&plan(&["sleep", "1000"]), &mut signals).await, 143);
    }

    #[tokio::test]
    async fn the_second_ctrl_c_stops_waiting_for_the_command() {
        let mut signals = Said::at(&[(0.01, Signal::Interrupt), (0.01, Signal::Interrupt)]);
        assert_eq!(code(&plan(&["sleep", "1000"]), &mut signals).await, 143);
        assert!(signals.left.is_empty() && signals.released);
    }

    #[tokio::test]
    async fn a_failing_output_takes_the_command_down() {
        let mut source = Script::new(&[]);
        let mut output = Recorder { fails_at: Some("start"), ..Recorder::default() };
        let (plan, mut signals) = (plan(&["sleep", "1000"]), Said::default());
        let ran = run_command(&mut source, Config::default(), &plan, &mut signals, &mut output, None);
        let error = ran.await.unwrap_err();
        assert_eq!(error.exit_code(), exit::RUN_FAILURE);
        assert!(error.to_string().contains("closed early"));
    }

    #[tokio::test]
    async fn a_command_that_is_not_found_starts_nothing() {
        let mut source = Script::new(&[]);
        let mut output = Recorder::default();
        let (plan, mut signals) = (plan(&["/nonexistent/command"]), Said::default());
        let ran = run_command(&mut source, Config::default(), &plan, &mut signals, &mut output, None);
        let error = ran.await.unwrap_err();
        assert_eq!(error.exit_code(), exit::NOT_FOUND);
        assert!(output.calls.is_empty());
    }
}
