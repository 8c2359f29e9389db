//! Runs the cases under one live source and compares what it told.

use crate::sequence::{self, Scene};
use crate::table::Case;
use portleak::event::{Event, EventKind, LossStage};
use portleak::source::linux::bpf::function_probes::UDP_DISCONNECT;
use portleak::source::linux::kernel::clock::boot_ns;
use portleak::source::{self, CaptureOptions, LiveSource, Source, Stacks};
use portleak_tests::outcome::Outcome;
use portleak_tests::workload::workload;
use serde_json::{Value, json};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Cases at a time: most of them wait for something.
const CASES_AT_ONCE: usize = 6;
/// How long after the last program the last event may come: the kernel clears namespaces away in
/// its own time.
const LAST_EVENT: Duration = Duration::from_secs(10);

/// A case that was played, and its program's report.
struct Played {
    case: &'static Case,
    scene: Scene,
    report: Value,
}

/// The kernel skips a probe that is interrupted by itself, and the source says so. What it tells
/// is then not the whole story, so the cases are played again, so many times in all.
const PERFORMANCES: u32 = 3;

/// Plays all cases and judges them.
#[expect(clippy::print_stdout, clippy::panic, reason = "what was lost is told, and a test fails so")]
pub(crate) fn perform(cases: &'static [Case]) -> Vec<(&'static str, Outcome)> {
    for performance in 1..=PERFORMANCES {
        match perform_once(cases) {
            Ok(outcomes) => return outcomes,
            Err(Lost { count, stage }) => println!("performance {performance}: {count} lost in {stage:?}"),
        }
    }
    panic!("events were lost each time");
}

/// Events that the source says were lost.
struct Lost {
    count: u64,
    stage: LossStage,
}

fn perform_once(cases: &'static [Case]) -> Result<Vec<(&'static str, Outcome)>, Lost> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let options = CaptureOptions { buffer_bytes: 1 << 26, stacks: Stacks::None };
    let mut source = runtime.block_on(async { source::open(&options) }).expect("the live source");
    let mut hooks = source.capture().hooks.iter();
    let functions = hooks.any(|hook| hook.name == UDP_DISCONNECT && hook.off_because.is_none());
    let mut events = Vec::new();
    let played = std::thread::scope(|scope| {
        let players = scope.spawn(|| play_all(cases));
        while !players.is_finished() {
            runtime.block_on(take(&mut source, &mut events));
        }
        players.join().expect("every program ran")
    });
    runtime.block_on(take(&mut source, &mut events));
    if let Some(lost) = lost(&events) {
        return Err(lost);
    }
    let patience_ends = Instant::now() + LAST_EVENT;
    loop {
        runtime.block_on(take(&mut source, &mut events));
        let outcomes: Vec<_> =
            played.iter().map(|it| (it.case.name, judge(it, &events, functions))).collect();
        let wrong = outcomes.iter().any(|(_, outcome)| matches!(outcome, Outcome::Wrong(_)));
        if !wrong || Instant::now() > patience_ends {
            return lost(&events).map_or(Ok(outcomes), Err);
        }
    }
}

async fn take(source: &mut LiveSource, events: &mut Vec<Event>) {
    source.ready().await;
    source.drain(events).expect("events");
}

fn lost(events: &[Event]) -> Option<Lost> {
    events.iter().find_map(|event| match event.kind {
        EventKind::Lost { count, stage } => Some(Lost { count, stage }),
        _ => None,
    })
}

fn play_all(cases: &'static [Case]) -> Vec<Played> {
    let (next, played) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..CASES_AT_ONCE {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let it = play(case);
                    played.lock().unwrap_or_else(PoisonError::into_inner).push(it);
                }
            });
        }
    });
    played.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn play(case: &'static Case) -> Played {
    let output = workload().args(["prove", case.name]).stdin(Stdio::null()).output().expect("the workload");
    let ended_ns = boot_ns();
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr).replace('\n', " ");
        let report = json!({ "failed": format!("its program ended with {}: {errors}", output.status) });
        return Played { case, scene: Scene { netns: 0, lasted_ns: 0..=0 }, report };
    }
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    let netns = number(&report["netns"]).expect("a namespace");
    let began_ns = number(&report["began_ns"]).expect("a time");
    Played { case, scene: Scene { netns, lasted_ns: began_ns..=ended_ns }, report }
}

fn judge(played: &Played, events: &[Event], functions: bool) -> Outcome {
    if let Some(why) = played.report["impossible"].as_str() {
        return Outcome::Impossible(why.to_owned());
    }
    if let Some(how) = played.report["failed"].as_str() {
        return Outcome::Wrong(how.to_owned());
    }
    let told = sequence::read(events, &played.scene);
    let (expected, inexact) = played.case.expected(functions);
    let line = told.line(expected);
    if line != expected {
        return Outcome::Wrong(format!("expected {expected}, told {line}"));
    }
    let took = played.report["took"].as_array().into_iter().flatten();
    let took: Vec<_> = took.map(|it| (number(&it["pid"]), number(&it["port"]))).collect();
    if !agree(&told.took, &took) {
        return Outcome::Wrong(format!("expected owners and ports {took:?}, told {:?}", told.took));
    }
    inexact.map_or(Outcome::Exact, |why| Outcome::Inexact(why.to_owned()))
}

type Took = (Option<u32>, Option<u16>);

/// Whether owners and ports are the same. A port whose number the program could not say may be told
/// with any, or not at all.
fn agree(told: &[Took], took: &[Took]) -> bool {
    let same = |(told, took): (&Took, &Took)| told.0 == took.0 && (took.1.is_none() || told.1 == took.1);
    let seen = took.iter().filter(|(_, port)| port.is_some());
    told.len() == took.len() && told.iter().zip(took).all(same) || told.iter().eq(seen)
}

fn number<N: TryFrom<u64>>(value: &Value) -> Option<N> {
    value.as_u64()?.try_into().ok()
}
