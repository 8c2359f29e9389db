//! The cases: a program of the workload, and the sequence of events that it must make.

/// One case; the words of `expected` are explained in `sequence.rs`.
pub(crate) struct Case {
    /// Its program: `workload prove NAME`.
    pub(crate) name: &'static str,
    pub(crate) expected: &'static str,
    /// Why the expected sequence is not what the kernel did, where portleak says so itself.
    pub(crate) inexact: Option<&'static str>,
    /// What the kernel did, and is told where function probes show it.
    pub(crate) by_functions: Option<&'static str>,
}

impl Case {
    /// The sequence to expect, and why it is not what the kernel did.
    pub(crate) fn expected(&self, functions: bool) -> (&'static str, Option<&'static str>) {
        match self.by_functions.filter(|_| functions) {
            Some(exact) => (exact, None),
            None => (self.expected, self.inexact),
        }
    }
}

const fn exact(name: &'static str, expected: &'static str) -> Case {
    Case { name, expected, inexact: None, by_functions: None }
}

const fn inexact(name: &'static str, expected: &'static str, why: &'static str) -> Case {
    Case { name, expected, inexact: Some(why), by_functions: None }
}

/// Exact only where function probes show what no tracepoint does.
const fn late(name: &'static str, expected: &'static str, by_functions: &'static str) -> Case {
    Case { name, expected, inexact: Some(LATE), by_functions: Some(by_functions) }
}

const LATE: &str = "no tracepoint shows that UDP gave its port back before it was closed";
const DISCONNECTED: &str = "a UDP socket that lies disconnected looks like one that found no port";
const NO_MOVE: &str = "a port stays with the process that took it";

/// All of them.
pub(crate) const CASES: &[Case] = &[
    // The long ones first.
    exact("time-wait-orphan", "A1 T+1 R1 T-1 A2 R2"),
    Case {
        name: "udp-disconnect-wait",
        expected: "F:EAGAIN A1 R1",
        inexact: Some(DISCONNECTED),
        by_functions: Some("A1 R1 A2 R2"),
    },
    exact("time-wait-reused", "A1 T+1 R1 F:EADDRNOTAVAIL A2 T-1 R2"),
    exact("time-wait-late-fin", "A1 T+1 R1 T~1 A2 R2 T-1"),
    exact("time-wait-no-room", "A1 R1"),
    exact("time-wait-destroyed", "A1 T+1 R1 T-1 A2 R2"),
    exact("tcp-active-close", "A1 T+1 R1 T-1"),
    exact("tcp-active-close-v6", "A1 T+1 R1 T-1"),
    exact("tcp-active-close-mapped", "A1 T+1 R1 T-1"),
    exact("tcp-bind-fixed-active-close", "A1 T+1 R1 T-1"),
    // TCP.
    exact("tcp-bind0", "A1 R1"),
    exact("tcp-bind-in-range", "A1 R1"),
    exact("tcp-bind-below-range", "A1 R1"),
    exact("tcp-bind-fails", "A1 R1"),
    exact("tcp-bind-non-local", "A1 R1"),
    exact("tcp-bind-no-port", "A1 R1 A2 R2"),
    exact("tcp-bind0-connect", "A1 R1"),
    exact("tcp-reset", "A1 R1"),
    exact("tcp-passive-close", "A1 W1 A2 R2 R1"),
    exact("tcp-close-wait", "A1 W1 A2 W2 A3 W3 A4 R4 R1 R2 R3"),
    exact("tcp-shut-down", "A1 A2 R2 R1"),
    exact("tcp-peer-reset", "A1 R1 A2 R2"),
    exact("tcp-bind0-peer-reset", "A1 R1 A2 R2"),
    exact("tcp-bind-fixed-peer-reset", "A1 A2 R2 R1"),
    exact("tcp-listen-unbound", "A1 R1"),
    exact("tcp-listen-twice", "A1 R1"),
    exact("tcp-listen-again", "A1 R1 A2 R2 A3 R3"),
    exact("tcp-disconnect", "A1 R1 A2 R2 A3 R3"),
    exact("tcp-refused-twice", "A1 R1 A2 R2"),
    exact("tcp-unreachable", "A1 R1"),
    exact("tcp-syn-sent", "A1 A2 R2 R1"),
    exact("tcp-accept", "A1 A2 R2 A3 R3 A4 R4 R1"),
    exact("tcp-fast-open", "A1 R1"),
    exact("tcp-fast-open-connect", "A1 A2 R2 R1"),
    // UDP.
    exact("udp-bind0", "A1 R1"),
    exact("udp-bind0-v6", "A1 R1"),
    exact("udp-bind-in-range", "A1 R1"),
    exact("udp-connect", "A1 R1"),
    exact("udp-connect-v6", "A1 R1"),
    exact("udp-connect-mapped", "A1 R1"),
    exact("udp-connect-twice", "A1 R1"),
    exact("udp-connect-send", "A1 R1"),
    exact("udp-unreachable", "A1 A2 R2 R1"),
    exact("udp-send", "A1 A2 R2 R1"),
    exact("udp-send-v6", "A1 A2 R2 R1"),
    exact("udp-send-mapped", "A1 A2 R2 R1"),
    exact("udp-bind-fixed-disconnect", "A1 A2 R2 R1"),
    late("udp-bind0-disconnect", "A1 A2 R2 R1", "A1 R1 A2 R2"),
    late("udp-disconnect-send", "A1 A2 R2 R1 A3 R3", "A1 R1 A2 R2 A3 R3"),
    late("udp-disconnect-bind", "A1 A2 R2 R1 A3 R3", "A1 R1 A2 R2 A3 R3"),
    late("udp-connect-disconnect-send", "A1 A2 R2 R1 A3 R3", "A1 R1 A2 R2 A3 R3"),
    late("udp-connect-disconnect-bind", "A1 A2 R2 R1 A3 R3", "A1 R1 A2 R2 A3 R3"),
    late("udp-disconnect", "A1 A2 R2 R1 A3 R3", "A1 R1 A2 R2 A3 R3"),
    late("udp-disconnect-close", "A1 A2 R2 R1", "A1 R1 A2 R2"),
    // Owners. A process that ends lets go of its files from the last to the first (task_work_run).
    exact("exit-without-close", "A1 A2 X R2 R1 A3 R3 X"),
    exact("killed", "A1 A2 X R2 R1 A3 R3 X"),
    inexact("fork", "A1 A2 R2 R1 A3 R3", NO_MOVE),
    inexact("scm-rights", "A1 A2 R2 R1 A3 R3", NO_MOVE),
    inexact("scm-in-flight", "A1 A2 R2 R1 A3 R3", NO_MOVE),
    inexact("pidfd-getfd", "A1 A2 R2 R1 A3 R3", NO_MOVE),
    exact("dup-close-range", "A1 A2 R2 R1 A3 R3"),
    exact("thread", "A1 R1"),
    exact("thread-connects", "A1 R1"),
    // Pools.
    exact("reuse-port", "A1 A2 R1 R2"),
    exact("reuse-address", "A1 A2 R1 R2"),
    exact("two-addresses", "A1 A2 R1 R2"),
    exact("exhausted-tcp-bind0", "A1 A2 A3 A4 F:EADDRINUSE F:EADDRINUSE R1 R2 R3 R4"),
    exact("exhausted-udp-bind0", "A1 A2 A3 A4 F:EADDRINUSE F:EADDRINUSE R1 R2 R3 R4"),
    exact("exhausted-tcp-bind0-any", "A1 A2 A3 A4 F:EADDRINUSE F:EADDRINUSE R1 R2 R3 R4"),
    exact("exhausted-bind0-v6", "A1 A2 A3 A4 F:EADDRINUSE F:EADDRINUSE R1 R2 R3 R4"),
    exact("exhausted-bind0-again", "A1 F:EADDRINUSE F:EADDRINUSE R1 A2 R2"),
    exact("exhausted-bind0-kept", "A1 F:EADDRINUSE R1"),
    exact("exhausted-udp-send-v6", "A1 A2 A3 A4 F:EAGAIN F:EAGAIN R1 R2 R3 R4"),
    exact("exhausted-udp-send", "A1 A2 A3 A4 F:EAGAIN F:EAGAIN R1 R2 R3 R4"),
    exact("exhausted-udp-connect", "A1 A2 A3 A4 F:EAGAIN F:EAGAIN R1 R2 R3 R4"),
    exact("exhausted-tcp-listen", "A1 A2 A3 A4 F:EADDRINUSE F:EADDRINUSE R1 R2 R3 R4"),
    exact("exhausted-tcp-connect", "A1 A2 A3 A4 F:EADDRNOTAVAIL F:EADDRNOTAVAIL R1 R2 R3 R4"),
    exact("exhausted-tcp-connect-no-port", "A1 A2 A3 A4 F:EADDRNOTAVAIL F:EADDRNOTAVAIL R1 R2 R3 R4"),
    exact(
        "two-destinations",
        "A1 A2 A3 A4 F:EADDRNOTAVAIL A5 A6 A7 A8 F:EADDRNOTAVAIL A9 R9 R1 R2 R3 R4 R5 R6 R7 R8",
    ),
    exact("reserved-ports", "A1 F:EADDRINUSE R1"),
    exact("local-port-range", "A1 R1"),
    exact("autobind-reuse", "A1 A2 A3 R1 R2 R3"),
    exact("own-range", "A1 A2 R2 R1"),
    // io_uring.
    exact("uring-connect", "A1 R1 A2 R2"),
    exact("uring-connect-polled", "A1 R1 A2 R2"),
    exact("uring-bind", "A1 R1"),
    exact("uring-send", "A1 R1"),
    exact("uring-direct", "A1 A2 R2 R1"),
    exact("uring-direct-close", "A1 R1 A2 R2"),
    exact("uring-bind-exhausted", "A1 F:EADDRINUSE R1"),
    exact("uring-send-exhausted", "A1 F:EAGAIN R1"),
    exact("uring-exhausted", "A1 F:EADDRNOTAVAIL R1"),
    // Other kinds.
    exact("mptcp-connect", "A1 R1"),
    exact("mptcp-bind0", "A1 R1"),
    exact("destroy-tcp", "A1 R1 A2 R2"),
    late("destroy-udp", "A1 A2 R2 R1", "A1 R1 A2 R2"),
    exact("not-sctp", "A1 R1"),
    exact("not-ping", "A1 R1"),
    exact("not-raw", "A1 R1"),
    exact("not-udp-lite", "A1 R1"),
];
