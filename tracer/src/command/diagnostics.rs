//! Warnings and errors, on standard error.
//!
//! A thread writes them: standard error may be a pipe that nobody reads, and whoever warns must not
//! wait for it. What there is no room for is dropped.

use crossbeam_channel::{Receiver, Sender, bounded};
use std::io::{self, Write};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

/// Lines that wait to be written at most.
const LINES_MAX: usize = 64;
/// How long the end of the program waits for them.
const FLUSH_MAX: Duration = Duration::from_millis(250);

/// A line, or a request to answer once all lines before it are written.
enum Message {
    Line(String),
    Flush(Sender<()>),
}

static LINES: OnceLock<Sender<Message>> = OnceLock::new();

struct Diagnostics;

impl log::Log for Diagnostics {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        write(&format!("portleak: {}\n", record.args()));
    }

    fn flush(&self) {}
}

/// From now on warnings are written. Does nothing when a logger is there already.
pub(super) fn install() {
    if log::set_logger(&Diagnostics).is_ok() {
        log::set_max_level(log::LevelFilter::Warn);
        let (lines, messages) = bounded(LINES_MAX);
        if thread::Builder::new().name("stderr".to_owned()).spawn(move || write_all(&messages)).is_ok() {
            let _ = LINES.set(lines);
        }
    }
}

/// Writes the reason why the program fails.
pub(super) fn fail(error: &anyhow::Error) {
    write(&format!("portleak: {error:#}\n"));
}

/// Waits until all is written, but not for long.
pub(super) fn flush() {
    let deadline = Instant::now() + FLUSH_MAX;
    if let Some(lines) = LINES.get() {
        let (done, written) = bounded(1);
        if lines.send_deadline(Message::Flush(done), deadline).is_ok() {
            let _ = written.recv_deadline(deadline);
        }
    }
}

fn write(line: &str) {
    match LINES.get() {
        Some(lines) => _ = lines.try_send(Message::Line(line.to_owned())),
        // No thread could be started.
        None => _ = io::stderr().write_all(line.as_bytes()),
    }
}

fn write_all(messages: &Receiver<Message>) {
    for message in messages {
        match message {
            Message::Line(line) => _ = io::stderr().write_all(line.as_bytes()),
            Message::Flush(done) => _ = done.send(()),
        }
    }
}
