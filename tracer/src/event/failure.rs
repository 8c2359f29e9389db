//! Failures: an allocation that found no port.

use super::{HoldId, OwnerId, PoolId};
use std::net::{IpAddr, SocketAddr};

/// The error of an allocation that found no free port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FailureCode {
    /// `connect()` found no port for the destination.
    EADDRNOTAVAIL,
    /// `bind(0)` or `listen()` found no port.
    EADDRINUSE,
    /// A UDP `connect()` or `sendto()` found no port; easily mistaken for "would block".
    EAGAIN,
    /// Windows: `bind()` or `connect()` found no port (10055, `STATUS_TOO_MANY_ADDRESSES` in the kernel).
    WSAENOBUFS,
}

impl FailureCode {
    /// Its usual name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::EADDRNOTAVAIL => "EADDRNOTAVAIL",
            Self::EADDRINUSE => "EADDRINUSE",
            Self::EAGAIN => "EAGAIN",
            Self::WSAENOBUFS => "WSAENOBUFS",
        }
    }

    /// The kernel's number for it, if that is what users see: Windows' NTSTATUS.
    #[must_use]
    pub fn status(self) -> Option<u32> {
        match self {
            Self::EADDRNOTAVAIL | Self::EADDRINUSE | Self::EAGAIN => None,
            Self::WSAENOBUFS => Some(0xc000_0209),
        }
    }
}

/// An allocation failed because no port was free.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// The victim.
    pub owner: OwnerId,
    /// The pool that had none.
    pub pool: PoolId,
    /// The error that the victim got.
    pub code: FailureCode,
    /// The local address asked for.
    pub local: Option<IpAddr>,
    /// The destination asked for.
    pub remote: Option<SocketAddr>,
    /// The hold that had been announced for this attempt and is now known never to have existed
    /// (a UDP connect on Linux); `None` when none was announced.
    pub retracts: Option<HoldId>,
}
