//! `bind()`: the port that it got, and that it got none.
//!
//! Before a bind and after a successful one the kernel runs a hook, after a failed one it runs
//! nothing. So every bind that leaves the choice of the port to the kernel is noted before; the hook
//! after it takes the note away, and a note that is still there when the socket is bound again or
//! closed was a failure. User space looks after those whose socket does neither. Where function
//! probes show which binds find no port, a note tells them what they see, and nothing without them.
//!
//! The hook before comes before all of bind's checks. What they refuse is told apart: a socket that
//! has a port, one that wants none (`IP_BIND_ADDRESS_NO_PORT`), and a bind that a program of another
//! cgroup has denied are not noted. Whether the address was a local one, user space finds out.

use crate::kernel::{Address, address, global};
use crate::ledger::{self, EADDRINUSE, TCP, UDP};
use crate::ring::{count, header};
use crate::site::Hook;
use crate::socket::{self, Common};
use crate::udp;
use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::BPF_ANY;
use aya_ebpf::helpers::generated::{bpf_get_retval, bpf_get_socket_cookie};
use aya_ebpf::macros::{cgroup_sock, cgroup_sock_addr, map};
use aya_ebpf::maps::HashMap;
use aya_ebpf::programs::{SockAddrContext, SockContext};
use portleak_ebpf::{Hold, control, counter, state};

/// Binds that have asked for a port and not been given one yet, by socket cookie.
#[map]
static BINDS: HashMap<u64, Hold> = HashMap::with_max_entries(4096, 0);

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
    // SAFETY: fields of the hook's context, as the verifier knows them.
    let (protocol, sk) = unsafe { ((*ctx.sock_addr).protocol, (*ctx.sock_addr).__bindgen_anon_1.sk) };
    if (protocol != u32::from(TCP) && protocol != u32::from(UDP)) || sk.is_null() {
        return;
    }
    // SAFETY: the helper takes this hook's context.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    failed_before(ctx, cookie);
    let sk = address(sk);
    // SAFETY: a helper without arguments.
    let denied = global!(CAN_ASK_VERDICT) != 0 && unsafe { bpf_get_retval() } != 0;
    if denied || udp::asked_port(ctx) != 0 || socket::port(sk) != 0 || socket::wants_no_port(sk) {
        return;
    }
    let mut hold = Hold { protocol: protocol as u8, family, state: state::BOUND, ..Hold::default() };
    hold.local = udp::asked_address(ctx, family, family);
    ledger::describe(sk, &Common::of(sk), &mut hold);
    hold.acquired_ns = header(0, cookie).at_ns;
    if BINDS.insert(cookie, hold, u64::from(BPF_ANY)).is_err() {
        count(counter::LOST);
    }
}

/// Tells of the bind that this socket tried before, in vain, if there is one.
#[inline(always)]
pub(crate) fn failed_before(ctx: &impl EbpfContext, cookie: u64) {
    if ledger::asked(control::BINDS_SEEN) == 0 {
        refused(ctx, cookie);
    } else {
        let _ = BINDS.remove(cookie);
    }
}

/// Tells that this socket's bind has found no port. False if it is not being bound.
#[inline(always)]
pub(crate) fn refused(ctx: &impl EbpfContext, cookie: u64) -> bool {
    let Some(noted) = BINDS.get_ptr(cookie) else {
        return false;
    };
    // SAFETY: the map's own memory, copied before it is given back.
    let hold = unsafe { *noted };
    if BINDS.remove(cookie).is_ok() {
        ledger::fail(ctx, cookie, &hold, EADDRINUSE);
    }
    true
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
    let _ = BINDS.remove(cookie);
    if let Some(hold) = ledger::find(cookie) {
        udp::end_before_bind(ctx, sk, cookie, hold);
    }
    let common = Common::of(sk);
    let mut hold =
        Hold { protocol: protocol as u8, state: state::BOUND, port: common.port(), ..Hold::default() };
    common.endpoints(&mut hold);
    ledger::acquire(ctx, Hook::Cgroup, sk, &common, cookie, hold);
}
