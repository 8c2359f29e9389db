//! Signals that portleak receives while it traces.

use super::{Signal, system};
use std::io;

/// Where signals come from: the system, or a test's script.
pub trait Signals {
    /// The next signal.
    fn next(&mut self) -> impl Future<Output = Signal>;

    /// From now on a signal ends portleak at once, whatever it does.
    fn release(&mut self);

    /// The command that a signal is to end before it ends portleak; `None` once it has ended.
    fn set_child(&mut self, pid: Option<u32>);

    /// Whether a Ctrl-C reaches the traced command as well. A terminal sends it to everyone in
    /// the foreground; without a terminal it was sent to portleak alone.
    fn shared_with_child(&self) -> bool;
}

/// The system's signals.
#[derive(Debug)]
pub struct OsSignals(system::Listener);

impl OsSignals {
    /// Signals no longer end portleak; [`Signals::next`] returns them.
    ///
    /// # Errors
    /// When the system does not let us.
    pub fn listen() -> io::Result<Self> {
        system::Listener::new().map(Self)
    }
}

impl Signals for OsSignals {
    fn next(&mut self) -> impl Future<Output = Signal> {
        self.0.next()
    }

    fn release(&mut self) {
        self.0.release();
    }

    fn set_child(&mut self, pid: Option<u32>) {
        self.0.set_child(pid);
    }

    fn shared_with_child(&self) -> bool {
        system::has_terminal()
    }
}
