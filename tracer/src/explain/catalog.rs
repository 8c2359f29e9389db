//! The book. Linux' meanings were measured (see `source::linux::track::failed_binds`, `source::linux::track::udp_send_hook`);
//! Windows' are those of winsock2.h, ntstatus.h and the messages of its provider Tcpip; that 4266 is to UDP
//! what 4231 is to TCP could not be looked up in Windows itself.

use super::Entry;

const WHO_HOLDS: (&str, &str) = ("portleak snapshot", "who holds the ports now");
const WHO_LEAKS: (&str, &str) = ("portleak trace", "who takes ports and does not give them back");
const WIDER: (&str, &str) = ("portleak doctor", "how many ports there are, and how to have more");
const DYNAMIC: (&str, &str) = ("netsh int ipv4 show dynamicport tcp", "how many ports there are");
const EXCLUDED: (&str, &str) =
    ("netsh int ipv4 show excludedportrange protocol=tcp", "which of them Hyper-V, WinNAT and others keep");
const WHO_HAS_IT: (&str, &str) = ("netstat -ano | findstr :8080", "who has that very port");

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
                "No local port is free for this destination. A port serves many destinations, but each of\n  \
                 them only once: what counts is how many connections go to this address and port.",
            ),
            ("bind()", "The address is not this machine's. That has nothing to do with ports."),
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
                "bind() to a certain port",
                "Another socket has that very port, perhaps only in TIME_WAIT. The pool may be empty or full:\n  \
                 this does not tell.",
            ),
        ],
        todo: &[
            WHO_LEAKS,
            WHO_HOLDS,
            ("ss -tulnp 'sport = :8080'", "who has that very port"),
            ("SO_REUSEADDR, SO_REUSEPORT", "let a server have its port back at once; let several share it"),
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
                "No UDP port is free. It is easily mistaken for the other meaning, for trying again seems to\n  \
                 be right. A UDP port is had once for all destinations.",
            ),
            (
                "anything else",
                "The call would have to wait, and was told not to. That has nothing to do with ports.",
            ),
        ],
        todo: &[
            ("portleak trace --proto udp", "who takes UDP ports and does not give them back"),
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
                "No dynamic port is free; the kernel says STATUS_TOO_MANY_ADDRESSES. The System event log\n  \
                 tells it as 4231 (TCP) or 4266 (UDP), without the culprit.",
            ),
            ("anything else", "The kernel lacks memory for the socket. That is not for want of ports."),
        ],
        todo: &[WHO_LEAKS, WHO_HOLDS, DYNAMIC, EXCLUDED],
    },
    Entry {
        names: &["WSAEADDRINUSE"],
        numbers: &[10_048],
        system: "Windows",
        message: "Only one usage of each socket address (protocol/network address/port) is\n   normally permitted",
        means: &[
            ("bind() to a certain port", "Another socket has that very port. The pool may be empty or full."),
            (
                "connect()",
                "The same local port was connected to the same destination a moment ago, and TIME_WAIT is\n  \
                 not over (event 4227): connections to it are opened and closed faster than ports come back.",
            ),
        ],
        todo: &[
            WHO_HAS_IT,
            WHO_LEAKS,
            ("keep-alive, a connection pool", "use connections again in the place of new ones"),
        ],
    },
    Entry {
        names: &["WSAEADDRNOTAVAIL"],
        numbers: &[10_049],
        system: "Windows",
        message: "The requested address is not valid in its context",
        means: &[
            ("bind()", "The address is not this machine's."),
            ("connect()", "The destination is no destination: port 0, or the address 0.0.0.0."),
            ("either", "Other than Linux' EADDRNOTAVAIL, it is not for want of ports: that is 10055 here."),
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
            "The port lies in a range that is kept for someone else, or another has it for itself alone\n  \
             (SO_EXCLUSIVEADDRUSE). Ranges that Hyper-V and WinNAT keep change with every boot.",
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
            "A dynamic port was asked for, and none was free. The program got 10055 (WSAENOBUFS).",
        )],
        todo: &[
            WHO_LEAKS,
            ("portleak replay trace.etl", "the same, of a trace that was recorded"),
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
            "A certain port was asked for, and another has it. The program got 10048 (WSAEADDRINUSE). It\n  \
             does not mean that the ports have run out.",
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
            "A certain port was asked for, and another has it for itself alone. It does not mean that the\n  \
             ports have run out.",
        )],
        todo: &[WHO_HAS_IT],
    },
    Entry {
        names: &["4227"],
        numbers: &[4_227],
        system: "Windows",
        message: "Tcpip: failed to establish an outgoing connection because the selected\n   local \
                  endpoint was recently used",
        means: &[(
            "in the System event log",
            "Ports come back to a destination before TIME_WAIT is over: connections to it are opened and\n  \
             closed at a high rate. That is churn, and often the last thing before 4231.",
        )],
        todo: &[
            WHO_LEAKS,
            ("keep-alive, a connection pool", "use connections again in the place of new ones"),
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
            "The TCP ports have run out. The event names no process, and the one that was refused is\n  \
             seldom the one that holds them.",
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
            "The UDP ports have run out: soon no name is resolved any more, for DNS asks from a new port\n  \
             each time.",
        )],
        todo: &[
            WHO_HOLDS,
            ("portleak trace --proto udp", "who takes UDP ports and does not give them back"),
            ("netsh int ipv4 show dynamicport udp", "how many ports there are"),
        ],
    },
    Entry {
        names: &["CLOSE_WAIT"],
        numbers: &[],
        system: "both",
        message: "the other side has closed the connection, this one has not",
        means: &[(
            "when it lasts",
            "The program was told (a read returned nothing) and does not close its socket. It is the\n  \
             commonest leak there is, and no setting ends it.",
        )],
        todo: &[WHO_LEAKS, ("close the socket", "when a read returns nothing, and on every error")],
    },
    Entry {
        names: &["TIME_WAIT"],
        numbers: &[],
        system: "both",
        message: "this side has closed the connection; its port rests until late packets have died",
        means: &[
            (
                "Linux",
                "60 seconds, for this destination only. It is no leak, but at a high rate it empties the\n  \
                 pool: 28,232 ports carry 470 new connections a second to one destination.",
            ),
            ("Windows", "As long as TcpTimedWaitDelay says (30 to 300 seconds)."),
        ],
        todo: &[
            ("keep-alive, a connection pool", "use connections again in the place of new ones"),
            WHO_LEAKS,
            WIDER,
        ],
    },
];
