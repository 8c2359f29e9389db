//! `bind()`: the port that it got, and that it got none.
//!
//! The hook before a bind comes before all of the kernel's checks. Three refusals are recognized and
//! not noted: a socket that has a port, one that wants none (`IP_BIND_ADDRESS_NO_PORT`), and a bind
//! that a program of another cgroup has denied. Whether the address was a local one, user space finds
//! out.

use crate::kernel::{Address, global};
use crate::ledger;
use crate::ring::header;
use crate::site::Hook;
use crate::socket::{self, Common};
use crate::{bind_notes, request, udp};
use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::{bpf_get_retval, bpf_get_socket_cookie};
use aya_ebpf::macros::{cgroup_sock, cgroup_sock_addr};
use aya_ebpf::programs::{SockAddrContext, SockContext};
use portleak_ebpf::protocol::{TCP, UDP};
use portleak_ebpf::{Hold, state};

/// Before `bind()` to an IPv4 address (`inet_bind_sk`, net/ipv4/af_inet.c).
#[cgroup_sock_addr(bind4)]
fn bind4(ctx: SockAddrContext) -> i32 {
    bind(&ctx, 4);
    1
}

/// Before `bind()` to an IPv6 address (`inet6_bind_sk`, net/ipv6/af_inet6.c).
#[cgroup_sock_addr(bind6)]
fn bind6(ctx: SockAddrContext) -> i32 {
    bind(&ctx, 6);
    1
}

#[inline(always)]
fn bind(ctx: &SockAddrContext, family: u8) {
    let Some((protocol, sk)) = request::protocol_and_socket(ctx) else {
        return;
    };
    if protocol != u32::from(TCP) && protocol != u32::from(UDP) {
        return;
    }
    let cookie = request::cookie(ctx);
    bind_notes::failed_before(ctx, cookie);
    // SAFETY: a helper without arguments.
    let denied = global!(CAN_ASK_VERDICT) != 0 && unsafe { bpf_get_retval() } != 0;
    if denied || request::port(ctx) != 0 || socket::port(sk) != 0 || socket::wants_no_port(sk) {
        return;
    }
    let mut hold = Hold { protocol: protocol as u8, family, state: state::BOUND, ..Hold::default() };
    hold.local = request::ip(ctx, family, family);
    ledger::describe(sk, &Common::of(sk), &mut hold);
    hold.acquired_ns = header(0, cookie).at_ns;
    bind_notes::insert(cookie, &hold);
}

/// `bind()` has succeeded: the port is in the tables (`__inet_bind`, net/ipv4/af_inet.c).
#[cgroup_sock(post_bind4)]
fn post_bind4(ctx: SockContext) -> i32 {
    post_bind(&ctx);
    1
}

/// `bind()` has succeeded on an IPv6 socket (`__inet6_bind`, net/ipv6/af_inet6.c).
#[cgroup_sock(post_bind6)]
fn post_bind6(ctx: SockContext) -> i32 {
    post_bind(&ctx);
    1
}

#[inline(always)]
fn post_bind(ctx: &SockContext) {
    // The context of this hook is the socket itself at run time.
    let sk = ctx.as_ptr() as Address;
    let protocol = socket::protocol(sk);
    if protocol != u16::from(TCP) && protocol != u16::from(UDP) {
        return;
    }
    // SAFETY: the helper takes this hook's context.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    bind_notes::remove(cookie);
    if let Some(hold) = ledger::find(cookie) {
        udp::end_before_bind(ctx, sk, cookie, hold);
    }
    let common = Common::of(sk);
    let mut hold =
        Hold { protocol: protocol as u8, state: state::BOUND, port: common.port(), ..Hold::default() };
    common.endpoints(&mut hold);
    ledger::acquire(ctx, Hook::Cgroup, sk, &common, cookie, hold);
}
