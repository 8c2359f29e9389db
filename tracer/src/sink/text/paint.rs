//! Colour by gravity.

use crate::engine::report::Verdict;

const RESET: &str = "\x1b[0m";
const BOLD_RED: &str = "\x1b[1;31m";
const BOLD_YELLOW: &str = "\x1b[1;33m";
const CYAN: &str = "\x1b[36m";
const GREEN: &str = "\x1b[32m";
const DIM: &str = "\x1b[2m";

/// Colours text, or leaves it as it is.
#[derive(Clone, Copy, Debug)]
pub struct Paint {
    on: bool,
}

impl Paint {
    /// Colours if `on`.
    #[must_use]
    pub fn new(on: bool) -> Self {
        Self { on }
    }

    /// In the colour of `verdict`.
    #[must_use]
    pub fn verdict(&self, verdict: Verdict, text: &str) -> String {
        self.with(
            match verdict {
                Verdict::Exhausted | Verdict::Leak => BOLD_RED,
                Verdict::Suspected => BOLD_YELLOW,
                Verdict::Growing | Verdict::Churn => CYAN,
                Verdict::Clean => GREEN,
            },
            text,
        )
    }

    /// As a warning about the tracing itself.
    #[must_use]
    pub fn warning(&self, text: &str) -> String {
        self.with(BOLD_YELLOW, text)
    }

    /// Less important.
    #[must_use]
    pub fn dim(&self, text: &str) -> String {
        self.with(DIM, text)
    }

    fn with(self, colour: &str, text: &str) -> String {
        if self.on { format!("{colour}{text}{RESET}") } else { text.to_owned() }
    }
}
