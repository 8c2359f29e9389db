//! UDP sockets whose datagrams need no more than one array element each.

use aya_ebpf::macros::map;
use aya_ebpf::maps::Array;
use portleak_ebpf::SENDERS_LEN;

/// By local port, the address of the socket whose datagrams need not be looked at again: its port
/// is in the ledger, or is not of the pool. The entry goes with the hold, or with the socket.
///
/// A host that sends from few sockets pays for one array element a datagram, not for the ledger.
#[map]
static SENDERS: Array<u64> = Array::with_max_entries(SENDERS_LEN, 0);

/// The element of a port.
#[inline(always)]
pub(crate) fn of(port: u32) -> Option<&'static mut u64> {
    // SAFETY: the map's own memory. A racing writer leaves one of two addresses, and a socket whose
    // address is not there is looked at again.
    SENDERS.get_ptr_mut(port).map(|sender| unsafe { &mut *sender })
}

/// The next datagram from this port is looked at.
#[inline(always)]
pub(crate) fn forget(port: u16) {
    if let Some(sender) = of(u32::from(port)) {
        *sender = 0;
    }
}
