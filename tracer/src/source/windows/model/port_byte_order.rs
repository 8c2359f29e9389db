//! The byte order of ports in events 1191 to 1195. Microsoft does not document it, so it is derived from the
//! trace.
//!
//! A bind writes its port twice on one thread: in 1191, and then in an address, whose byte order is known.

use crate::source::windows::decoded_event::{AfdAction, DecodedEvent, Tcpip};
use rustc_hash::FxHashMap;

/// A bound: no machine binds on as many threads at once.
const THREADS_MAX: usize = 1 << 16;

/// The byte order of a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PortByteOrder {
    /// The host's: the lower byte first.
    #[default]
    Host,
    /// The network's: the higher byte first.
    Network,
}

impl PortByteOrder {
    /// Decodes a port.
    #[must_use]
    pub fn read(self, port: u16) -> u16 {
        match self {
            Self::Host => port,
            Self::Network => port.swap_bytes(),
        }
    }
}

/// The votes of a trace's binds.
#[derive(Clone, Debug, Default)]
pub struct Votes {
    acquired: FxHashMap<u32, u16>,
    host: u64,
    network: u64,
}

impl Votes {
    /// Counts what a thread's event shows.
    pub fn observe(&mut self, tid: Option<u32>, event: &DecodedEvent) {
        let Some(tid) = tid else {
            return;
        };
        let address = match event {
            DecodedEvent::Tcpip(Tcpip::Acquired(port)) => {
                if self.acquired.len() >= THREADS_MAX {
                    self.acquired.clear();
                }
                self.acquired.insert(tid, port.port);
                return;
            }
            DecodedEvent::Tcpip(Tcpip::Bound(_, endpoint)) if endpoint.status == 0 => endpoint.local,
            DecodedEvent::Afd(afd) if afd.action == AfdAction::Bind && afd.done && afd.status == 0 => {
                afd.address
            }
            _ => return,
        };
        let Some((address, written)) = address.zip(self.acquired.remove(&tid)) else {
            return;
        };
        let port = address.port();
        if port != port.swap_bytes() {
            self.host += u64::from(port == written);
            self.network += u64::from(port == written.swap_bytes());
        }
    }

    /// Whether there is any vote.
    #[must_use]
    pub fn is_decided(&self) -> bool {
        self.host + self.network > 0
    }

    /// The order with the most votes; the host's order without votes.
    #[must_use]
    pub fn order(&self) -> PortByteOrder {
        if self.network > self.host { PortByteOrder::Network } else { PortByteOrder::Host }
    }
}
