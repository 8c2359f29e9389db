//! In which byte order events 1191 to 1195 write a port: nobody says, so the trace is asked.
//!
//! A bind writes its port twice on one thread: in 1191, and then in an address, whose order is
//! known.

use crate::source::windows::decoded_event::{AfdAction, DecodedEvent, Tcpip};
use rustc_hash::FxHashMap;

/// More threads than are at it at once.
const THREADS_MAX: usize = 1 << 16;

/// The byte order of a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PortByteOrder {
    /// The machine's: the lower byte first.
    #[default]
    Host,
    /// The network's: the higher byte first.
    Network,
}

impl PortByteOrder {
    /// The port that was written as `port`.
    #[must_use]
    pub fn read(self, port: u16) -> u16 {
        match self {
            Self::Host => port,
            Self::Network => port.swap_bytes(),
        }
    }
}

/// What the binds of a trace say of it.
#[derive(Clone, Debug, Default)]
pub struct Votes {
    acquired: FxHashMap<u32, u16>,
    host: u64,
    network: u64,
}

impl Votes {
    /// Takes in what a thread wrote.
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

    /// Whether any of them has said something.
    #[must_use]
    pub fn is_decided(&self) -> bool {
        self.host + self.network > 0
    }

    /// What most of them say; the machine's order when they say nothing.
    #[must_use]
    pub fn order(&self) -> PortByteOrder {
        if self.network > self.host { PortByteOrder::Network } else { PortByteOrder::Host }
    }
}
