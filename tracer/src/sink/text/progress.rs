//! The progress line: one line on the terminal, rewritten each second.

use crate::engine::report::Progress;
use crate::sink::numbers::count;
use std::io::Write;

const CLEAR: &str = "\r\x1b[K";
const INTERVAL_NS: u64 = 1_000_000_000;

/// The progress line. Failures to write it are ignored.
pub struct ProgressLine {
    terminal: Box<dyn Write + Send>,
    began_ns: u64,
    shown_ns: u64,
    visible: bool,
}

impl ProgressLine {
    /// A line on `terminal`.
    #[must_use]
    pub fn new(terminal: Box<dyn Write + Send>) -> Self {
        Self { terminal, began_ns: 0, shown_ns: 0, visible: false }
    }

    /// Tracing begins.
    pub(super) fn start(&mut self, now_ns: u64) {
        self.began_ns = now_ns;
        self.shown_ns = now_ns;
        self.rewrite("tracing; Ctrl-C ends");
    }

    /// Shows `progress`, at most once a second.
    pub(super) fn show(&mut self, progress: &Progress, now_ns: u64) {
        if now_ns < self.shown_ns.saturating_add(INTERVAL_NS) {
            return;
        }
        self.shown_ns = now_ns;
        let text = line(progress, now_ns.saturating_sub(self.began_ns));
        self.rewrite(&text);
    }

    /// Erases the line before something else is written.
    pub(super) fn clear(&mut self) {
        if self.visible {
            self.visible = false;
            self.write(CLEAR);
        }
    }

    fn rewrite(&mut self, text: &str) {
        self.visible = true;
        self.write(&format!("{CLEAR}{text}"));
    }

    fn write(&mut self, text: &str) {
        let _ = self.terminal.write_all(text.as_bytes());
        let _ = self.terminal.flush();
    }
}

/// `12.4 s  held 600  +50.1/s  lost 0`.
fn line(progress: &Progress, elapsed_ns: u64) -> String {
    let tenths = elapsed_ns / 100_000_000;
    format!(
        "{}.{} s  held {}  +{:.1}/s  lost {}",
        count(tenths / 10),
        tenths % 10,
        count(progress.held),
        progress.acquired_per_s,
        count(progress.lost),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::fixtures::{Written, at};

    #[test]
    fn it_is_rewritten_each_second_and_cleared_once() {
        let written = Written::default();
        let mut line = ProgressLine::new(Box::new(written.clone()));
        line.start(at(0.0));
        let progress = Progress { held: 1_600, acquired_per_s: 50.12, lost: 0 };
        line.show(&progress, at(0.9));
        line.show(&progress, at(1.2));
        line.show(&progress, at(2.1));
        line.clear();
        line.clear();
        assert_eq!(
            written.text(),
            "\r\x1b[Ktracing; Ctrl-C ends\
             \r\x1b[K1.2 s  held 1,600  +50.1/s  lost 0\r\x1b[K"
        );
    }
}
