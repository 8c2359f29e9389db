//! The fields of a `struct sock`, read by its address.

use crate::kernel::{ABSENT, Address, global, load, read};
use portleak_ebpf::{Hold, OwnerKey, protocol};

const AF_INET6: u16 = 10;

/// How much of a socket [`Common`] takes: `struct sock_common` is its start and no longer.
const COMMON_BYTES: usize = 128;

/// The start of a `struct sock`, copied at once: it holds the endpoints and the port.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(crate) struct Common([u8; COMMON_BYTES]);

impl Common {
    #[inline(always)]
    pub(crate) fn of(sk: Address) -> Self {
        read(sk, 0)
    }

    #[inline(always)]
    fn at<T: Copy>(&self, offset: u32) -> T {
        // SAFETY: the verifier knows the offset and refuses one outside of the copy; T is an
        // integer or an array of them at every call.
        unsafe { self.0.as_ptr().add(offset as usize).cast::<T>().read_unaligned() }
    }

    /// The local port as the port tables know it; 0 when the socket has none.
    #[inline(always)]
    pub(crate) fn port(&self) -> u16 {
        self.at(global!(OFF_SK_NUM))
    }

    /// Family, addresses and remote port.
    #[inline(always)]
    pub(crate) fn endpoints(&self, hold: &mut Hold) {
        hold.remote_port = u16::from_be(self.at(global!(OFF_SK_DPORT)));
        if self.at::<u16>(global!(OFF_SK_FAMILY)) == AF_INET6 {
            hold.family = 6;
            hold.local = self.at(global!(OFF_SK_V6_RCV_SADDR));
            hold.remote = self.at(global!(OFF_SK_V6_DADDR));
        } else {
            hold.family = 4;
            hold.local = v4(self.at(global!(OFF_SK_RCV_SADDR)));
            hold.remote = v4(self.at(global!(OFF_SK_DADDR)));
        }
    }

    /// The network namespace's address and inode.
    #[inline(always)]
    pub(crate) fn namespace(&self) -> (Address, u32) {
        let net = self.at(global!(OFF_SK_NET));
        (net, read(net, global!(OFF_NET_INUM)))
    }
}

/// The cookie of a tracepoint's socket; 0 while nobody has asked for it.
#[inline(always)]
pub(crate) fn loaded_cookie(sk: Address) -> u64 {
    load(sk, global!(OFF_SK_COOKIE))
}

/// The local port of a tracepoint's socket.
#[inline(always)]
pub(crate) fn loaded_port(sk: Address) -> u16 {
    load(sk, global!(OFF_SK_NUM))
}

/// Whether a tracepoint's TCP socket has a hash of its own: an accepted one, or one that has ever been
/// connected (`sk_set_txhash` in `tcp_v4_connect`, `tcp_v6_connect`; never zero).
#[inline(always)]
pub(crate) fn loaded_was_connected(sk: Address) -> bool {
    global!(OFF_SK_TXHASH) != ABSENT && load::<u32>(sk, global!(OFF_SK_TXHASH)) != 0
}

/// The cookie of a socket; 0 while nobody has asked for it.
#[inline(always)]
pub(crate) fn cookie(sk: Address) -> u64 {
    read(sk, global!(OFF_SK_COOKIE))
}

/// The local port of a socket.
#[inline(always)]
pub(crate) fn port(sk: Address) -> u16 {
    read(sk, global!(OFF_SK_NUM))
}

/// Whether a socket has a destination.
#[inline(always)]
pub(crate) fn is_connected(sk: Address) -> bool {
    read::<u16>(sk, global!(OFF_SK_DPORT)) != 0
}

/// Whether a UDP socket has ever been connected: that gives it a hash of its own, which stays
/// (`sk_set_txhash` in `__ip4_datagram_connect` and `__ip6_datagram_connect`; never zero).
#[inline(always)]
pub(crate) fn was_connected(sk: Address) -> bool {
    global!(OFF_SK_TXHASH) != ABSENT && read::<u32>(sk, global!(OFF_SK_TXHASH)) != 0
}

/// The protocol number.
#[inline(always)]
pub(crate) fn protocol(sk: Address) -> u16 {
    read(sk, global!(OFF_SK_PROTOCOL))
}

/// Whether the kernel made the socket for itself. An MPTCP subflow carries the same bit
/// (`sk_kern_sock`) although its connection is a user's.
#[inline(always)]
pub(crate) fn is_kernels(sk: Address, protocol: u8) -> bool {
    bit(sk, global!(OFF_SK_KERN), global!(SK_KERN_SHIFT))
        && !(protocol == protocol::TCP && bit(sk, global!(OFF_TCP_MPTCP), global!(TCP_MPTCP_SHIFT)))
}

/// Whether a bind of this socket leaves the port to connect (`IP_BIND_ADDRESS_NO_PORT`).
#[inline(always)]
pub(crate) fn wants_no_port(sk: Address) -> bool {
    bit(sk, global!(OFF_SK_NO_PORT), global!(SK_NO_PORT_SHIFT))
}

#[inline(always)]
fn bit(sk: Address, offset: u32, shift: u32) -> bool {
    offset != ABSENT && (read::<u8>(sk, offset) >> (shift & 7)) & 1 == 1
}

/// `ip_local_port_range` of a namespace, as it is now.
#[inline(always)]
pub(crate) fn range(net: Address) -> (u16, u16) {
    let offset = global!(OFF_NET_PORT_RANGE);
    if global!(PORT_RANGE_PACKED) == 1 {
        // u32 range = high << 16 | low (include/net/netns/ipv4.h, since 6.8).
        let packed: u32 = read(net, offset);
        (packed as u16, (packed >> 16) as u16)
    } else {
        // int range[2] (include/net/netns/ipv4.h).
        let pair: [u32; 2] = read(net, offset);
        (pair[0] as u16, pair[1] as u16)
    }
}

/// Whether `ip_local_reserved_ports` takes the port out of the pool.
#[inline(always)]
pub(crate) fn is_reserved(net: Address, port: u16) -> bool {
    if global!(OFF_NET_RESERVED) == ABSENT {
        return false;
    }
    let bitmap: Address = read(net, global!(OFF_NET_RESERVED));
    bitmap != 0 && (read::<u8>(bitmap, u32::from(port / 8)) >> (port % 8)) & 1 == 1
}

/// An IPv4 address in network byte order as the wire carries it.
#[inline(always)]
pub(crate) fn v4(address: u32) -> [u64; 2] {
    [u64::from(address), 0]
}

/// The owner of what the current task does with this socket.
#[inline(always)]
pub(crate) fn owner(sk: Address, protocol: u8, netns: u32) -> OwnerKey {
    if is_kernels(sk, protocol) {
        OwnerKey { started_ticks: 0, pid: 0, system_netns: netns }
    } else {
        crate::task::current()
    }
}
