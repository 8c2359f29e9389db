//! What a person, or a service manager, says to portleak while it traces.

use super::{Signal, system};
use std::io;

/// Where signals come from: the system, or a test's script.
pub trait Signals {
    /// The next signal.
    fn next(&mut self) -> impl Future<Output = Signal>;

    /// From now on a signal ends portleak at once, also in the middle of a blocked write.
    fn release(&mut self);

    /// Whether a Ctrl-C reaches the traced command as well. A terminal sends it to everyone in
    /// the foreground; without a terminal somebody sent it to portleak alone.
    fn shared_with_child(&self) -> bool;
}

/// The system's signals.
#[derive(Debug)]
pub struct OsSignals(system::Listener);

impl OsSignals {
    /// Signals no longer end portleak; they are told by [`Signals::next`].
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

    fn shared_with_child(&self) -> bool {
        system::has_terminal()
    }
}
