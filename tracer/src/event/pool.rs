//! Pools: the ports that a namespace and protocol may hand out.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A network namespace, by inode number (`/proc/PID/ns/net`). Always 0 where there are none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NetNs(pub u32);

/// The transport protocols whose ports are traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP over IPv4 or IPv6.
    Tcp,
    /// UDP over IPv4 or IPv6.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// The ports that one (namespace, protocol) may hand out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PoolId {
    /// The namespace.
    pub netns: NetNs,
    /// The protocol.
    pub protocol: Protocol,
}

/// The range a pool hands out from, both ends included, and how many of it are reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PortRange {
    /// The lowest port.
    pub low: u16,
    /// The highest port.
    pub high: u16,
    /// Ports inside the range that are never handed out (`ip_local_reserved_ports`).
    pub reserved: u32,
}

impl PortRange {
    /// How many ports the pool can hand out.
    #[must_use]
    pub fn usable(&self) -> u32 {
        (u32::from(self.high) + 1).saturating_sub(u32::from(self.low)).saturating_sub(self.reserved)
    }
}
