//! The entries. The meanings on Linux were measured (see `failed_binds` and `udp_send_hook` in
//! `source::linux::track`). Those on Windows come from winsock2.h, ntstatus.h and the messages of the
//! event provider Tcpip. One is inferred: that event 4266 is to UDP what 4231 is to TCP.

use super::Entry;

const WHO_HOLDS: (&str, &str) = ("portleak snapshot", "who holds the ports now");
const WHO_LEAKS: (&str, &str) = ("portleak trace", "who takes ports and does not release them");
const WIDER: (&str, &str) = ("portleak doctor", "how many ports there are, and how to get more");
const DYNAMIC: (&str, &str) = ("netsh int ipv4 show dynamicport tcp", "how many ports there are");
const EXCLUDED: (&str, &str) =
    ("netsh int ipv4 show excludedportrange protocol=tcp", "those that Hyper-V, WinNAT and others reserve");
const WHO_HAS_IT: (&str, &str) = ("netstat -ano | findstr :8080", "who has this port");

/// All codes, those of Linux first.
pub(super) const CATALOG: &[Entry] = &[
    Entry {
        names: &["EADDRNOTAVAIL"],
        numbers: &[99],
        system: "Linux",
        message: "Cannot assign requested address",
        means: &[
            (
                "connect()",
                "No local port is free for this destination. A port can serve many destinations, but each\n  \
                 only once: the connections to this address and port count.",
            ),
            ("bind()", "The address is not one of this machine's. Not a port shortage."),
        ],
        todo: &[WHO_LEAKS, WHO_HOLDS, WIDER],
    },
    Entry {
        names: &["EADDRINUSE"],
        numbers: &[98],
        system: "Linux",
        message: "Address already in use",
        means: &[
            (
                "bind() to port 0, or listen() without bind()",
                "No port is free on this local address, whatever the destination would be.",
            ),
            (
                "bind() to a given port",
                "Another socket has this port, perhaps only in TIME_WAIT. It says nothing about the pool.",
            ),
        ],
        todo: &[
            WHO_LEAKS,
            WHO_HOLDS,
            ("ss -tulnp 'sport = :8080'", "who has this port"),
            ("SO_REUSEADDR, SO_REUSEPORT", "a server gets its port back at once; several share it"),
            ("IP_BIND_ADDRESS_NO_PORT", "lets connect() choose the port after a bind() to an address"),
        ],
    },
    Entry {
        names: &["EAGAIN", "EWOULDBLOCK"],
        numbers: &[11],
        system: "Linux",
        message: "Resource temporarily unavailable",
        means: &[
            (
                "connect() or sendto() on UDP, with a socket that has no port yet",
                "No UDP port is free. It is easily mistaken for \"would block\", so programs retry. A UDP port\n  \
                 is used once, whatever the destination.",
            ),
            ("anything else", "The call would block on a non-blocking socket. Not a port shortage."),
        ],
        todo: &[
            ("portleak trace --proto udp", "who takes UDP ports and does not release them"),
            WHO_HOLDS,
            WIDER,
        ],
    },
    Entry {
        names: &["WSAENOBUFS"],
        numbers: &[10_055],
        system: "Windows",
        message: "An operation on a socket could not be performed because the system lacked sufficient\n  \
                  buffer space or because a queue was full",
        means: &[
            (
                "connect() or bind()",
                "No dynamic port is free; the kernel's status is STATUS_TOO_MANY_ADDRESSES. The System event\n  \
                 log has event 4231 (TCP) or 4266 (UDP), without the culprit.",
            ),
            ("anything else", "The kernel lacks memory for the socket. Not a port shortage."),
        ],
        todo: &[WHO_LEAKS, WHO_HOLDS, DYNAMIC, EXCLUDED],
    },
    Entry {
        names: &["WSAEADDRINUSE"],
        numbers: &[10_048],
        system: "Windows",
        message: "Only one usage of each socket address (protocol/network address/port) is\n  normally permitted",
        means: &[
            ("bind() to a given port", "Another socket has this port. It says nothing about the pool."),
            (
                "connect()",
                "The same local port was connected to the same destination a moment ago, and TIME_WAIT is\n  \
                 not over (event 4227): connections to it are opened and closed faster than ports come back.",
            ),
        ],
        todo: &[
            WHO_HAS_IT,
            WHO_LEAKS,
            ("keep-alive, a connection pool", "reuse connections instead of opening new ones"),
        ],
    },
    Entry {
        names: &["WSAEADDRNOTAVAIL"],
        numbers: &[10_049],
        system: "Windows",
        message: "The requested address is not valid in its context",
        means: &[
            ("bind()", "The address is not one of this machine's."),
            ("connect()", "The destination is invalid: port 0, or the address 0.0.0.0."),
            ("either", "Unlike EADDRNOTAVAIL on Linux it is not a port shortage: that is 10055 on Windows."),
        ],
        todo: &[("ipconfig", "which addresses this machine has")],
    },
    Entry {
        names: &["WSAEACCES"],
        numbers: &[10_013],
        system: "Windows",
        message: "An attempt was made to access a socket in a way forbidden by its access permissions",
        means: &[(
            "bind()",
            "The port is in a reserved range, or another socket has it exclusively\n  \
             (SO_EXCLUSIVEADDRUSE). The ranges that Hyper-V and WinNAT reserve change at every boot.",
        )],
        todo: &[EXCLUDED, WHO_HAS_IT],
    },
    Entry {
        names: &["STATUS_TOO_MANY_ADDRESSES"],
        numbers: &[0xc000_0209],
        system: "Windows",
        message: "The maximum number of addresses have been registered",
        means: &[(
            "in an event trace (TCPIP 1006, 1050, 1394; AFD 1029, 1030)",
            "A dynamic port was requested and none was free. The program got 10055 (WSAENOBUFS).",
        )],
        todo: &[
            WHO_LEAKS,
            ("portleak replay trace.etl", "the same, from a recorded trace"),
            DYNAMIC,
            EXCLUDED,
        ],
    },
    Entry {
        names: &["STATUS_ADDRESS_ALREADY_EXISTS"],
        numbers: &[0xc000_020a],
        system: "Windows",
        message: "The address already exists",
        means: &[(
            "in an event trace",
            "A given port was requested and another socket has it. The program got 10048\n  \
             (WSAEADDRINUSE). Not a port shortage.",
        )],
        todo: &[WHO_HAS_IT],
    },
    Entry {
        names: &["STATUS_SHARING_VIOLATION"],
        numbers: &[0xc000_0043],
        system: "Windows",
        message: "A file cannot be opened because the share access flags are incompatible",
        means: &[(
            "of a bind, in an event trace",
            "A given port was requested and another socket has it exclusively. Not a port shortage.",
        )],
        todo: &[WHO_HAS_IT],
    },
    Entry {
        names: &["4227"],
        numbers: &[4_227],
        system: "Windows",
        message: "Tcpip: failed to establish an outgoing connection because the selected\n  local \
                  endpoint was recently used",
        means: &[(
            "in the System event log",
            "A port was reused for a destination before its TIME_WAIT ended: connections to it are opened\n  \
             and closed at a high rate. That is churn, and often precedes 4231.",
        )],
        todo: &[
            WHO_LEAKS,
            ("keep-alive, a connection pool", "reuse connections instead of opening new ones"),
            DYNAMIC,
        ],
    },
    Entry {
        names: &["4231"],
        numbers: &[4_231],
        system: "Windows",
        message: "Tcpip: a request for an ephemeral port from the global TCP port space has failed,\n  \
                  all being in use",
        means: &[(
            "in the System event log",
            "The TCP ports are exhausted. The event names no process, and the process that failed is\n  \
             seldom the one that holds the ports.",
        )],
        todo: &[WHO_HOLDS, WHO_LEAKS, DYNAMIC, EXCLUDED],
    },
    Entry {
        names: &["4266"],
        numbers: &[4_266],
        system: "Windows",
        message: "Tcpip: a request for an ephemeral port from the global UDP port space has failed,\n  \
                  all being in use",
        means: &[(
            "in the System event log",
            "The UDP ports are exhausted: DNS fails next, because each query uses a new port.",
        )],
        todo: &[
            WHO_HOLDS,
            ("portleak trace --proto udp", "who takes UDP ports and does not release them"),
            ("netsh int ipv4 show dynamicport udp", "how many ports there are"),
        ],
    },
    Entry {
        names: &["CLOSE_WAIT"],
        numbers: &[],
        system: "both",
        message: "the peer has closed the connection, this side has not",
        means: &[(
            "when it lasts",
            "The program was informed (a read returned 0 bytes) and does not close its socket. It is the\n  \
             most common leak, and no setting ends it.",
        )],
        todo: &[WHO_LEAKS, ("close the socket", "when a read returns 0 bytes, and on every error")],
    },
    Entry {
        names: &["TIME_WAIT"],
        numbers: &[],
        system: "both",
        message: "this side has closed the connection; its port is kept until late packets have expired",
        means: &[
            (
                "Linux",
                "60 seconds, for this destination only. It is not a leak, but a high rate exhausts the pool:\n  \
                 28,232 ports allow 470 new connections a second to one destination.",
            ),
            ("Windows", "The setting TcpTimedWaitDelay (30 to 300 seconds)."),
        ],
        todo: &[
            ("keep-alive, a connection pool", "reuse connections instead of opening new ones"),
            WHO_LEAKS,
            WIDER,
        ],
    },
];
