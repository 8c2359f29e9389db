//! What a `struct sock` says of itself, read by its address.

use crate::kernel::{ABSENT, Address, global, read};
use tracer_ebpf::{Hold, OwnerKey};

const AF_INET6: u16 = 10;

/// The generic socket cookie; 0 while nobody has asked for it.
#[inline(always)]
pub(crate) fn cookie(sk: Address) -> u64 {
    read(sk, global!(OFF_SK_COOKIE))
}

/// The local port as the port tables know it; 0 when the socket has none.
#[inline(always)]
pub(crate) fn port(sk: Address) -> u16 {
    read(sk, global!(OFF_SK_NUM))
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
        && !(protocol == crate::ledger::TCP
            && bit(sk, global!(OFF_TCP_MPTCP), global!(TCP_MPTCP_SHIFT)))
}

#[inline(always)]
fn bit(sk: Address, offset: u32, shift: u32) -> bool {
    offset != ABSENT && (read::<u8>(sk, offset) >> (shift & 7)) & 1 == 1
}

/// The network namespace's address and inode.
#[inline(always)]
pub(crate) fn namespace(sk: Address) -> (Address, u32) {
    let net = read(sk, global!(OFF_SK_NET));
    (net, read(net, global!(OFF_NET_INUM)))
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

/// Fills in family, addresses and remote port.
#[inline(always)]
pub(crate) fn endpoints(sk: Address, hold: &mut Hold) {
    hold.remote_port = u16::from_be(read(sk, global!(OFF_SK_DPORT)));
    if read::<u16>(sk, global!(OFF_SK_FAMILY)) == AF_INET6 {
        hold.family = 6;
        hold.local = read(sk, global!(OFF_SK_V6_RCV_SADDR));
        hold.remote = read(sk, global!(OFF_SK_V6_DADDR));
    } else {
        hold.family = 4;
        hold.local = v4(read(sk, global!(OFF_SK_RCV_SADDR)));
        hold.remote = v4(read(sk, global!(OFF_SK_DADDR)));
    }
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
        crate::process::current()
    }
}
