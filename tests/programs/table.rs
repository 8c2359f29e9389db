//! The programs, and what portleak must say of each.

use Expected::{Healthy, Leak};
use Needs::{Nothing, PyPi, Python};

/// One program.
pub(crate) struct Row {
    /// Its name, by which it is started.
    pub(crate) name: &'static str,
    /// What it takes to run it.
    pub(crate) needs: Needs,
    /// What it is.
    pub(crate) expected: Expected,
}

/// What it takes to run a program.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    /// It is written in Rust.
    Nothing,
    /// Python and its own library.
    Python,
    /// Python and packages that must be fetched.
    PyPi,
}

/// What a program is.
#[derive(Clone, Copy)]
pub(crate) enum Expected {
    /// Nobody of it may ever be suspected.
    Healthy,
    /// It must end as suspected or leak, and nobody else of it may. A frame of the call site contains
    /// this.
    Leak(&'static str),
}

const fn row(name: &'static str, needs: Needs, expected: Expected) -> Row {
    Row { name, needs, expected }
}

/// All of them. Python's code has no frame pointers on Debian: its call sites are the C library's.
pub(crate) const ROWS: [Row; 42] = [
    row("fetch-and-forget", Nothing, Leak("fetch (leaks.rs:")),
    row("error-path", Nothing, Leak("request (leaks.rs:")),
    row("close-wait", Nothing, Leak("read_answer (leaks.rs:")),
    row("retry", Nothing, Leak("try_three_times (leaks.rs:")),
    row("bound-udp", Nothing, Leak("bound_udp::{{closure}} (leaks.rs:")),
    row("job-per-child", Nothing, Leak("start_job (leaks.rs:")),
    row("thread-pool", Nothing, Leak("work_off (leaks.rs:")),
    row("slow", Nothing, Leak("fetch (leaks.rs:")),
    row("many-servers", Nothing, Leak("fetch (leaks.rs:")),
    row("ureq-response-kept", Nothing, Leak("keep_response (clients.rs:")),
    row("ureq-agent-each", Nothing, Leak("new_agent (clients.rs:")),
    row("r2d2-forgotten", Nothing, Leak("connect (clients.rs:")),
    row("py-fetch-and-forget", Python, Leak("connect")),
    row("py-error-path", Python, Leak("connect")),
    row("py-close-wait", Python, Leak("connect")),
    row("py-bound-tcp", Python, Leak("bind")),
    row("py-udp-connect", Python, Leak("connect")),
    row("py-syn-sent", Python, Leak("connect")),
    row("py-keepalive-clients", Python, Leak("connect")),
    row("py-prefork", Python, Leak("connect")),
    row("py-fork-inherit", Python, Leak("connect")),
    row("py-requests-session-each", PyPi, Leak("connect")),
    row("py-requests-stream", PyPi, Leak("connect")),
    row("py-httpx-client-each", PyPi, Leak("connect")),
    row("warm-up", Nothing, Healthy),
    row("burst", Nothing, Healthy),
    row("churn", Nothing, Healthy),
    row("keepalive", Nothing, Healthy),
    row("websocket", Nothing, Healthy),
    row("dns", Nothing, Healthy),
    row("workers", Nothing, Healthy),
    row("refused", Nothing, Healthy),
    row("slow-close", Nothing, Healthy),
    row("ureq", Nothing, Healthy),
    row("r2d2", Nothing, Healthy),
    row("r2d2-too-large", Nothing, Healthy),
    row("py-with-statement", Python, Healthy),
    row("py-gather", Python, Healthy),
    row("py-resolver", Python, Healthy),
    row("py-listener-load", Python, Healthy),
    row("py-requests-right", PyPi, Healthy),
    row("py-httpx-right", PyPi, Healthy),
];
