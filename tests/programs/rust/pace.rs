//! How fast a program works, and for how long.

use anyhow::Result;
use std::thread;
use std::time::{Duration, Instant};

/// Until when.
pub(crate) struct Pace {
    ends: Instant,
}

impl Pace {
    /// For so many seconds from now.
    pub(crate) fn new(seconds: u64) -> Self {
        Self { ends: Instant::now() + Duration::from_secs(seconds) }
    }

    /// Whether time is up.
    pub(crate) fn is_over(&self) -> bool {
        Instant::now() >= self.ends
    }

    /// Works so often a second; then everything is kept as it is until time is up.
    pub(crate) fn each(&self, per_second: f64, mut work: impl FnMut(u64) -> Result<()>) -> Result<()> {
        let began = Instant::now();
        for i in 0.. {
            let due = began + Duration::from_secs_f64(i as f64 / per_second);
            if due >= self.ends {
                self.rest();
                return Ok(());
            }
            thread::sleep(due.saturating_duration_since(Instant::now()));
            work(i)?;
        }
        Ok(())
    }

    /// Waits until time is up.
    pub(crate) fn rest(&self) {
        thread::sleep(self.ends.saturating_duration_since(Instant::now()));
    }
}
