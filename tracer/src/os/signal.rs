//! The two requests to end that portleak knows.

/// A request to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// SIGTERM, and all else that ends a process: SIGHUP, SIGQUIT, a console that is closed.
    Terminate,
}
