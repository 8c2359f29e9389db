//! Whoever reads portleak's output slowly, or not at all, costs output and nothing else.

use crate::harness::{PATIENCE, Process, Workload, alone, portleak};
use portleak_tests::trace::Trace;
use rustix::event::{PollFd, PollFlags, poll};
use std::io::{PipeReader, Read, Write, pipe};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

/// How long nobody reads: thousands of events.
const STALL: Duration = Duration::from_secs(5);

/// The least that a pipe can hold: a page (pipe(7)).
const PIPE_BYTES: usize = 4096;

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_stalled_reader_costs_the_capture_nothing() {
    let _machine = alone();
    let mut workload = Workload::start(&["brief", "--processes", "3000", "--transport", "both"]);
    let (mut tracer, mut reader) = trace_into_full_pipe(&workload);
    workload.observe();
    let report = workload.reports(1, PATIENCE).remove(0);
    thread::sleep(STALL);
    tracer.interrupt();
    let mut said = String::new();
    reader.read_to_string(&mut said).expect("the rest of the output");
    let said = Trace::rest(&said);
    assert_eq!(tracer.end("portleak", PATIENCE).code(), Some(0));
    for protocol in ["tcp", "udp"] {
        let sum: u64 = said.owners().iter().filter_map(|owner| owner[protocol]["acquired"].as_u64()).sum();
        assert_eq!(report[protocol]["acquired"], sum, "{protocol}");
    }
    let lost_by_capture = said.of_type("lost").filter(|it| it["stage"] != "output").count();
    assert_eq!(lost_by_capture, 0, "capture {}", said.summary()["capture"]);
    workload.end();
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn ctrl_c_ends_it_though_nobody_reads() {
    let _machine = alone();
    let workload = Workload::start(&["leak", "--per-second", "100", "--seconds", "60"]);
    let (mut tracer, _reader) = trace_into_full_pipe(&workload);
    thread::sleep(STALL);
    tracer.interrupt();
    let status = tracer.end("portleak, whose summary nobody reads", PATIENCE);
    assert!(!status.success(), "its summary was not written, so {status} is no success");
}

/// `portleak trace` of a workload's namespace, with its start line read and its pipe full.
fn trace_into_full_pipe(workload: &Workload) -> (Process, PipeReader) {
    let (mut reader, mut writer) = pipe().expect("a pipe");
    rustix::pipe::fcntl_setpipe_size(&writer, PIPE_BYTES).expect("a small pipe");
    let mut command = portleak(&["trace", "--format", "json", "--netns", &workload.netns().to_string()]);
    let output = writer.try_clone().expect("the same pipe");
    let tracer = Process::start(command.stdin(Stdio::null()).stdout(output));
    drop(command);
    let mut byte = [0];
    while byte != *b"\n" {
        let mut readable = [PollFd::new(&reader, PollFlags::IN)];
        let ready = poll(&mut readable, Some(&PATIENCE.try_into().expect("a short time")));
        assert_eq!(ready, Ok(1), "waiting for the start line");
        reader.read_exact(&mut byte).expect("the start line");
    }
    // It finds less room when portleak has written meanwhile, and must not wait for that here.
    thread::spawn(move || writer.write_all(&[b'\n'; PIPE_BYTES]));
    (tracer, reader)
}
