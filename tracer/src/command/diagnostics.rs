//! Warnings of portleak and of the libraries below it, on standard error.

use std::io::{self, Write};

struct Diagnostics;

impl log::Log for Diagnostics {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let _ = writeln!(io::stderr(), "portleak: {}", record.args());
    }

    fn flush(&self) {}
}

/// From now on warnings are written. Does nothing when a logger is there already.
pub(super) fn install() {
    if log::set_logger(&Diagnostics).is_ok() {
        log::set_max_level(log::LevelFilter::Warn);
    }
}
