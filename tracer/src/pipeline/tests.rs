//! The loop with a scripted source: time is tokio's, which stands still until awaited.

use super::capture::{Capturing, line};
use super::intake::Reading;
use super::session::{replay, trace_machine};
use super::*;
use crate::engine::Config;
use crate::engine::report::{Finding, Progress};
use crate::event::{Acquired, Capture, Event, EventKind, HoldId, OwnerId, ProcessId, Protocol, SocketState};
use crate::os::Signal;
use crate::os::signals::Signals;
use crate::recording::{Header, Reader, Recording};
use crate::sink::fixtures::Written;
use crate::sink::json::JsonSink;
use crate::sink::{Completeness, Sink, SinkError, fixtures};
use crate::source::{Source, Turn};
use crate::symbols::Symbols;
use std::collections::VecDeque;
use std::io::{self, Cursor, Write};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use tokio::time::{Instant, sleep};

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

/// What a sink was called for.
#[derive(Clone, Default)]
struct Calls(Arc<Mutex<Vec<&'static str>>>);

impl Calls {
    fn list(&self) -> Vec<&'static str> {
        self.0.lock().unwrap().clone()
    }
}

/// Remembers what it was called for; fails, or never returns, at the call named.
#[derive(Default)]
struct Listening {
    calls: Calls,
    fails_at: Option<&'static str>,
    hangs_at: Option<&'static str>,
    completeness: Arc<Mutex<Completeness>>,
}

impl Listening {
    fn call(&mut self, name: &'static str) -> Result<(), SinkError> {
        self.calls.0.lock().unwrap().push(name);
        while self.hangs_at == Some(name) {
            std::thread::park();
        }
        if self.fails_at == Some(name) {
            return Err(SinkError::Closed { name: "standard output".to_owned() });
        }
        Ok(())
    }
}

impl Sink for Listening {
    fn name(&self) -> &str {
        "test"
    }

    fn start(&mut self, _: u64) -> Result<(), SinkError> {
        self.call("start")
    }

    fn finding(&mut self, _: &Finding) -> Result<(), SinkError> {
        self.call("finding")
    }

    fn wants_progress(&self) -> bool {
        true
    }

    fn progress(&mut self, _: &Progress, _: u64) {
        let _ = self.call("progress");
    }

    fn summary(&mut self, _: &Summary, completeness: &Completeness) -> Result<(), SinkError> {
        *self.completeness.lock().unwrap() = completeness.clone();
        self.call("summary")
    }
}

fn setup(sinks: Vec<Box<dyn Sink>>, recording: Option<(Recording, Header)>) -> Setup {
    let (config, began_ns, symbols) = (Config::default(), fixtures::at(0.0), Symbols::default());
    Setup { config, began_ns, sinks, recording, symbols, pace: Pace::Live }
}

fn header() -> Header {
    Header {
        tool: String::new(),
        capture: fixtures::capture(),
        config: Config::default(),
        command: Vec::new(),
        buffer_bytes: 0,
        began_ns: 0,
    }
}

/// Captures a script beside what `session` makes of it.
async fn beside<T>(source: &mut Script, session: impl AsyncFnOnce(&mut Capturing) -> T) -> T {
    let (mut capturing, line) = line();
    let (done, ()) = tokio::join!(
        async {
            let done = session(&mut capturing).await;
            drop(capturing);
            done
        },
        line.capture(source)
    );
    done
}

async fn traced(
    source: &mut Script,
    setup: Setup,
    seconds: Option<f64>,
    signals: &mut Said,
) -> Result<Outcome, TraceError> {
    let duration = seconds.map(Duration::from_secs_f64);
    beside(source, async |capturing| trace_machine(capturing, setup, duration, signals).await).await
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

    fn set_child(&mut self, _: Option<u32>) {}

    fn shared_with_child(&self) -> bool {
        true
    }
}

#[tokio::test(start_paused = true)]
async fn duration_ends_the_trace_and_nothing_is_left_in_the_source() {
    let mut source = Script::new(&[0.5, 1.5, 1.5, 2.999]);
    let sink = Listening::default();
    let calls = sink.calls.clone();
    traced(&mut source, setup(vec![Box::new(sink)], None), Some(3.0), &mut Said::default()).await.unwrap();
    let calls = calls.list();
    assert_eq!((calls.first(), calls.last()), (Some(&"start"), Some(&"summary")));
    assert!(source.stopped && source.left.is_empty());
    assert_eq!(source.now_ns(), fixtures::at(3.0));
    // Every 250 ms of three seconds, at most.
    assert!((4..=12).contains(&calls.iter().filter(|call| **call == "progress").count()), "{calls:?}");
}

#[tokio::test(start_paused = true)]
async fn the_first_ctrl_c_prints_the_summary_and_the_second_is_the_systems() {
    let mut source = Script::new(&[]);
    let mut signals = Said::at(&[(0.1, Signal::Interrupt)]);
    let sink = Listening::default();
    let calls = sink.calls.clone();
    traced(&mut source, setup(vec![Box::new(sink)], None), None, &mut signals).await.unwrap();
    assert_eq!(calls.list(), ["start", "summary"]);
    assert!(signals.released);
}

#[tokio::test(start_paused = true)]
async fn a_busy_source_does_not_starve_the_end() {
    let mut source = Script::new(&[0.0; 1000]);
    source.left.extend((0..100_000).map(|i| f64::from(i) / 1e5));
    traced(&mut source, setup(Vec::new(), None), Some(0.5), &mut Said::default()).await.unwrap();
    assert_eq!(source.now_ns(), fixtures::at(0.5));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_breaks_still_gets_its_summary() {
    let mut source = Script::new(&[0.1]);
    source.breaks = true;
    let sink = Listening::default();
    let calls = sink.calls.clone();
    let traced = traced(&mut source, setup(vec![Box::new(sink)], None), None, &mut Said::default()).await;
    assert!(traced.unwrap_err().to_string().contains("the ring buffer is gone"));
    assert_eq!(calls.list(), ["start", "summary"]);
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_closes_ends_the_trace_and_the_others_get_their_summary() {
    let mut source = Script::new(&[]);
    let (closing, other) =
        (Listening { fails_at: Some("start"), ..Listening::default() }, Listening::default());
    let calls = [closing.calls.clone(), other.calls.clone()];
    let setup = setup(vec![Box::new(closing), Box::new(other)], None);
    let traced = traced(&mut source, setup, None, &mut Said::default()).await;
    assert!(traced.unwrap_err().to_string().contains("closed early"));
    assert_eq!(calls[0].list(), ["start"]);
    assert_eq!(calls[1].list().last(), Some(&"summary"));
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_hangs_holds_up_neither_the_others_nor_the_end() {
    let mut source = Script::new(&[0.1, 0.2]);
    let (hanging, other) =
        (Listening { hangs_at: Some("start"), ..Listening::default() }, Listening::default());
    let calls = other.calls.clone();
    let mut signals = Said::at(&[(1.0, Signal::Interrupt)]);
    let setup = setup(vec![Box::new(hanging), Box::new(other)], None);
    let error = traced(&mut source, setup, None, &mut signals).await.unwrap_err();
    assert!(error.to_string().starts_with("the summary was not written: nobody reads test"), "{error}");
    assert!(source.stopped);
    assert_eq!(calls.list().last(), Some(&"summary"));
}

/// Hangs at its first write after the file's own head.
struct HungDisk(u32);

impl Write for HungDisk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += 1;
        if self.0 == 1 {
            return Ok(bytes.len());
        }
        loop {
            std::thread::park();
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_recorder_that_hangs_holds_up_neither_the_trace_nor_the_summary() {
    let mut source = Script::new(&[0.1; 200_000]);
    let sink = Listening::default();
    let (calls, completeness) = (sink.calls.clone(), Arc::clone(&sink.completeness));
    let recording = Recording::new("night.plk", Box::new(HungDisk(0)), Symbols::default()).unwrap();
    let mut signals = Said::at(&[(1.0, Signal::Interrupt)]);
    let setup = setup(vec![Box::new(sink)], Some((recording, header())));
    let error = traced(&mut source, setup, None, &mut signals).await.unwrap_err();
    assert!(error.to_string().starts_with("the recording night.plk was not finished"), "{error}");
    assert_eq!(calls.list().last(), Some(&"summary"));
    let completeness = completeness.lock().unwrap();
    let [lacking] = completeness.incomplete.as_slice() else { panic!("{completeness:?}") };
    assert!(lacking.what.starts_with("events not recorded in night.plk"), "{lacking:?}");
    assert!(lacking.count > 0 && completeness.loop_lag.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_capture_that_does_not_stop_is_left_behind() {
    let sink = Listening::default();
    let completeness = Arc::clone(&sink.completeness);
    let (mut capturing, _never_captures) = line();
    let setup = setup(vec![Box::new(sink)], None);
    let duration = Some(Duration::from_secs(1));
    trace_machine(&mut capturing, setup, duration, &mut Said::default()).await.unwrap();
    let completeness = completeness.lock().unwrap();
    assert!(completeness.incomplete[0].what.starts_with("captures that did not end"), "{completeness:?}");
}

/// Twenty ports a second are acquired and few are released, for a minute; every seventh event comes
/// after the second that it belongs to has been judged.
struct Leak {
    capture: Capture,
    seconds: u64,
}

impl Leak {
    fn event(number: u64, second: u64) -> Event {
        let late_s = if number.is_multiple_of(7) { 0.06 } else { 0.0 };
        let at_ns = fixtures::at(second as f64 + number as f64 / 20.0 - late_s);
        let hold = 20 * second + number;
        let released = EventKind::Released { hold: HoldId(hold.saturating_sub(3)) };
        Event { at_ns, kind: if number % 5 == 4 { released } else { Self::acquired(hold) } }
    }

    fn acquired(hold: u64) -> EventKind {
        EventKind::Acquired(Acquired {
            hold: HoldId(hold),
            owner: OwnerId::Process(ProcessId { pid: 7, started_ticks: 7 }),
            pool: fixtures::pool(Protocol::Tcp),
            range: Some(fixtures::range()),
            pre_existing: false,
            local: Ipv4Addr::LOCALHOST.into(),
            port: Some(40_000 + (hold % 10_000) as u16),
            remote: Some((Ipv4Addr::LOCALHOST, 80).into()),
            state: SocketState::Connected,
            site: None,
        })
    }
}

impl Source for Leak {
    fn capture(&self) -> &Capture {
        &self.capture
    }

    fn now_ns(&self) -> u64 {
        fixtures::at(self.seconds as f64 + 0.0111)
    }

    async fn ready(&mut self) {}

    fn turn(&mut self, events: &mut Vec<Event>) -> Result<Turn, SourceError> {
        self.drain(events)?;
        let now_ns = self.now_ns();
        Ok(if self.seconds < 60 { Turn::Until(now_ns) } else { Turn::End(now_ns) })
    }

    fn drain(&mut self, events: &mut Vec<Event>) -> Result<(), SourceError> {
        events.extend((0..20).map(|number| Self::event(number, self.seconds)));
        self.seconds += 1;
        Ok(())
    }

    fn stop(&mut self, _: &mut Vec<Event>) -> Result<(), SourceError> {
        Ok(())
    }
}

/// Keeps what is written.
#[derive(Clone, Default)]
struct Disk(Arc<Mutex<Vec<u8>>>);

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_replay_says_what_was_said_live() {
    let json = |written: &Written| -> Vec<Box<dyn Sink>> {
        vec![Box::new(JsonSink::new(written.writer(), &fixtures::capture(), Symbols::default(), false))]
    };
    let (disk, live) = (Disk::default(), Written::default());
    let recording = Recording::new("test", Box::new(disk.clone()), Symbols::default()).unwrap();
    let as_live = Setup { pace: Pace::File, ..setup(json(&live), Some((recording, header()))) };
    let source = Leak { capture: fixtures::capture(), seconds: 0 };
    replay(&mut Reading::new(source), as_live).unwrap();

    let file = Cursor::new(disk.0.lock().unwrap().clone());
    let reader = Reader::open(file).unwrap();
    let again = Written::default();
    let (config, began_ns) = (reader.header().config.clone(), reader.header().began_ns);
    let setup = Setup { config, began_ns, pace: Pace::File, ..setup(json(&again), None) };
    replay(&mut Reading::new(reader), setup).unwrap();
    assert_eq!(again.text(), live.text());
    assert!(live.text().contains("\"verdict\":\"leak\""), "{}", live.text());
}

#[cfg(unix)]
mod with_a_command {
    use super::*;
    use crate::exit;
    use crate::os;
    use crate::pipeline::session::{Plan, RunError, run_command};

    fn plan(line: &[&str]) -> Plan {
        Plan { command: line.iter().map(Into::into).collect(), linger: Duration::ZERO, duration: None }
    }

    async fn ran(
        source: &mut Script,
        sink: Listening,
        plan: &Plan,
        signals: &mut Said,
    ) -> Result<(Outcome, std::process::ExitStatus), RunError> {
        let setup = setup(vec![Box::new(sink)], None);
        beside(source, async |capturing| run_command(capturing, setup, plan, signals).await).await
    }

    async fn code(plan: &Plan, signals: &mut Said) -> u8 {
        let mut source = Script::new(&[0.0]);
        let sink = Listening::default();
        let calls = sink.calls.clone();
        let (_, status) = ran(&mut source, sink, plan, signals).await.unwrap();
        assert_eq!(calls.list().last(), Some(&"summary"));
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
    async fn a_failing_sink_takes_the_command_down() {
        let sink = Listening { fails_at: Some("start"), ..Listening::default() };
        let (plan, mut signals) = (plan(&["sleep", "1000"]), Said::default());
        let error = ran(&mut Script::new(&[]), sink, &plan, &mut signals).await.unwrap_err();
        assert_eq!(error.exit_code(), exit::RUN_FAILURE);
        assert!(error.to_string().contains("closed early"));
    }

    #[tokio::test]
    async fn a_command_that_is_not_found_starts_nothing() {
        let sink = Listening::default();
        let calls = sink.calls.clone();
        let (plan, mut signals) = (plan(&["/nonexistent/command"]), Said::default());
        let error = ran(&mut Script::new(&[]), sink, &plan, &mut signals).await.unwrap_err();
        assert_eq!(error.exit_code(), exit::NOT_FOUND);
        assert!(calls.list().is_empty());
    }
}
