//! What a program asked for in `bind`, `connect` or `sendto`: the context of the address hooks.

use crate::kernel::{Address, address};
use crate::socket;
use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::bpf_get_socket_cookie;
use aya_ebpf::programs::SockAddrContext;
use core::ptr::read_volatile;

/// The protocol, and the socket's address; `None` without a socket.
#[inline(always)]
pub(crate) fn protocol_and_socket(ctx: &SockAddrContext) -> Option<(u32, Address)> {
    // SAFETY: fields of the hook's context, as the verifier knows them.
    let (protocol, sk) = unsafe { ((*ctx.sock_addr).protocol, (*ctx.sock_addr).__bindgen_anon_1.sk) };
    (!sk.is_null()).then(|| (protocol, address(sk)))
}

/// The socket's cookie.
#[inline(always)]
pub(crate) fn cookie(ctx: &SockAddrContext) -> u64 {
    // SAFETY: the helper takes this hook's context.
    unsafe { bpf_get_socket_cookie(ctx.as_ptr()) }
}

/// The port that the program named.
#[inline(always)]
pub(crate) fn port(ctx: &SockAddrContext) -> u16 {
    // SAFETY: a field of the hook's context, as the verifier knows it.
    unsafe { u16::from_be((*ctx.sock_addr).user_port as u16) }
}

/// The address of `family` that the program named, as a socket of `socket_family` has it.
#[inline(always)]
pub(crate) fn ip(ctx: &SockAddrContext, family: u8, socket_family: u8) -> [u64; 2] {
    let addr = ctx.sock_addr;
    // SAFETY: fields of the hook's context, as the verifier knows them; it allows this context to
    // be read in words of 32 bits only, hence volatile.
    unsafe {
        match (family, socket_family) {
            (4, 4) => socket::v4((*addr).user_ip4),
            // An IPv6 socket that talks IPv4: ::ffff:a.b.c.d.
            (4, _) => [0, words(0xffff_0000, (*addr).user_ip4)],
            _ => [
                words(
                    read_volatile(&raw const (*addr).user_ip6[0]),
                    read_volatile(&raw const (*addr).user_ip6[1]),
                ),
                words(
                    read_volatile(&raw const (*addr).user_ip6[2]),
                    read_volatile(&raw const (*addr).user_ip6[3]),
                ),
            ],
        }
    }
}

/// Two words of 32 bits as they lie in memory, on a little-endian machine.
#[inline(always)]
fn words(first: u32, second: u32) -> u64 {
    u64::from(first) | u64::from(second) << 32
}
