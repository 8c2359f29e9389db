//! How fast a Windows trace is judged, and how much memory that takes.
//!
//! ```text
//! bench-etl write FILE --megabytes N [--packed]    a made-up trace, the same every time
//! bench-etl judge FILE                             what `portleak replay` does
//! ```
//!
//! The trace is that of a busy host: 50 processes that connect in turn and close after 2,000 other
//! connections, with AFD's events and the stack's, in buffers of 64 KiB of four CPUs. Times are CPU
//! times.

#![expect(clippy::print_stdout, reason = "a program, not the library")]

use anyhow::{Result, bail};
use portleak::engine::Config;
use portleak::pipeline::intake::Reading;
use portleak::pipeline::{Pace, Setup, session};
use portleak::source::Source;
use portleak::source::windows::etl::Trace;
use portleak::symbols::Symbols;
use portleak_tests::etl::encode::Release;
use portleak_tests::etl::machine::Machine;
use portleak_tests::etl::writer::Form;
use portleak_tests::meter;
use std::collections::VecDeque;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

const MEGABYTE: u64 = 1_000_000;
/// Connections open at once, and how many a second.
const OPEN: usize = 2_000;
const PER_SECOND: f64 = 1_000.0;

fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["write", file, "--megabytes", megabytes, rest @ ..] => {
            write(Path::new(file), megabytes.parse()?, rest.contains(&"--packed"))
        }
        ["judge", file] => judge(Path::new(file)),
        _ => bail!("bench-etl write FILE --megabytes N [--packed] | bench-etl judge FILE"),
    }
}

fn write(path: &Path, megabytes: u64, compressed: bool) -> Result<()> {
    let form = Form { buffer_bytes: 1 << 16, compressed, ..Form::default() };
    let file = BufWriter::new(File::create(path)?);
    let mut machine = Machine::into(file, Release::Win11V23H2, form);
    let mut open = VecDeque::new();
    let mut connections = 0_u32;
    while std::fs::metadata(path)?.len() < megabytes * MEGABYTE {
        for _ in 0..1_000 {
            machine.at(f64::from(connections) / PER_SECOND);
            open.push_back(machine.connected(1_000 + connections % 50));
            connections += 1;
            if open.len() > OPEN
                && let Some(socket) = open.pop_front()
            {
                machine.close_to_time_wait(socket);
                machine.time_wait_ends(socket);
            }
        }
    }
    machine.finish();
    Ok(())
}

fn judge(path: &Path) -> Result<()> {
    let trace = Trace::open(path)?;
    let setup = Setup {
        config: Config::default(),
        began_ns: trace.began_ns(),
        sinks: Vec::new(),
        recording: None,
        symbols: Symbols::default(),
        pace: Pace::File,
    };
    let summary = session::replay(&mut Reading::new(trace), setup)?.summary;
    let cpu_s = meter::cpu_s();
    let megabytes = std::fs::metadata(path)?.len() as f64 / MEGABYTE as f64;
    let said = serde_json::json!({
        "events": summary.events, "cpu_s": cpu_s, "megabytes": megabytes,
        "megabytes_per_s": megabytes / cpu_s, "peak_bytes": meter::memory("VmHWM"),
    });
    println!("{said}");
    Ok(())
}
