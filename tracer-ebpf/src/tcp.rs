//! TCP: bound, connected, listening, closed.

use crate::kernel::{Address, global, read};
use crate::ledger::{self, EADDRINUSE, EADDRNOTAVAIL, TCP};
use crate::ring::{emit, header};
use crate::socket;
use aya_ebpf::EbpfContext;
use aya_ebpf::macros::{btf_tracepoint, cgroup_sock, sock_ops};
use aya_ebpf::programs::{BtfTracePointContext, SockContext, SockOpsContext};
use aya_ebpf::helpers::generated::bpf_get_socket_cookie;
use tracer_ebpf::{Header, Hold, HoldRecord, kind, state};

// include/net/tcp_states.h
const ESTABLISHED: u32 = 1;
const SYN_SENT: u32 = 2;
const TIME_WAIT: u32 = 6;
const CLOSE: u32 = 7;
const CLOSE_WAIT: u32 = 8;
const LISTEN: u32 = 10;
const NEW_SYN_RECV: u32 = 12;

// include/uapi/linux/bpf.h
const BPF_SOCK_OPS_TCP_CONNECT_CB: u32 = 3;
const BPF_SOCK_OPS_TCP_LISTEN_CB: u32 = 11;

/// Every user socket gets its cookie at birth, so that the tracepoints below can read it on
/// kernels (< 5.12) that do not let them ask for it.
#[cgroup_sock(sock_create)]
fn sock_create(ctx: SockContext) -> i32 {
    // SAFETY: the helper takes this hook's context.
    unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    1
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
    if protocol != u16::from(TCP) && protocol != u16::from(ledger::UDP) {
        return;
    }
    // SAFETY: the helper takes this hook's context.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    if ledger::find(cookie).is_some() {
        return;
    }
    let mut hold = Hold { protocol: protocol as u8, state: state::BOUND, port: socket::port(sk), ..Hold::default() };
    socket::endpoints(sk, &mut hold);
    ledger::acquire(ctx, sk, cookie, hold);
}

/// `connect()` or `listen()` has its port: the first hook that sees the number when the kernel
/// chose it there (`tcp_connect`, `inet_csk_listen_start`).
#[sock_ops]
fn sock_ops(ctx: SockOpsContext) -> u32 {
    let state = match ctx.op() {
        BPF_SOCK_OPS_TCP_CONNECT_CB => state::SYN_SENT,
        BPF_SOCK_OPS_TCP_LISTEN_CB => state::LISTEN,
        _ => return 1,
    };
    // SAFETY: the verifier knows this field of the context as a socket or null.
    let sk = unsafe { (*ctx.ops).__bindgen_anon_2.sk };
    if sk.is_null() {
        return 1;
    }
    // SAFETY: the helper takes this hook's context.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    if ledger::find(cookie).is_some() {
        return 1; // Bound before: inet_sock_set_state has told the change.
    }
    let sk = crate::kernel::address(sk);
    let mut hold = Hold { protocol: TCP, state, port: socket::port(sk), ..Hold::default() };
    socket::endpoints(sk, &mut hold);
    ledger::acquire(&ctx, sk, cookie, hold);
    1
}

/// `inet_sock_set_state(const struct sock *sk, const int oldstate, const int newstate)`
/// (include/trace/events/sock.h). On the way to CLOSE the port has already been given back unless
/// the program had asked for it by number (`tcp_set_state`, SOCK_BINDPORT_LOCK).
#[btf_tracepoint(function = "inet_sock_set_state")]
fn inet_sock_set_state(ctx: BtfTracePointContext) -> i32 {
    let sk: Address = ctx.arg(0);
    let old: u32 = ctx.arg(1);
    let new: u32 = ctx.arg(2);
    let cookie = socket::cookie(sk);
    match ledger::find(cookie) {
        Some(hold) if new == CLOSE && socket::port(sk) == 0 => ledger::release(cookie, hold),
        Some(hold) => follow(sk, cookie, hold, new),
        None if new == CLOSE => ended_unheld(&ctx, sk, cookie, old),
        None => {}
    }
    0
}

/// A held socket changed state and keeps its port.
#[inline(always)]
fn follow(sk: Address, cookie: u64, hold: &mut Hold, new: u32) {
    let next = match new {
        ESTABLISHED => state::CONNECTED,
        SYN_SENT => state::SYN_SENT,
        LISTEN => state::LISTEN,
        CLOSE_WAIT => state::CLOSE_WAIT,
        CLOSE => state::BOUND,
        TIME_WAIT | NEW_SYN_RECV => return,
        _ => state::CLOSING,
    };
    if next == hold.state {
        return;
    }
    hold.state = next;
    if new == SYN_SENT || new == CLOSE {
        socket::endpoints(sk, hold);
        emit(HoldRecord { header: header(kind::UPDATED, cookie), hold: *hold });
    } else {
        emit(Header { code: next, ..header(kind::STATE, cookie) });
    }
}

/// A socket that holds nothing went back to CLOSE. If it was connecting or about to listen and
/// never got a port, there was none to be had: `inet_hash_connect` or `get_port` failed.
#[inline(always)]
fn ended_unheld(ctx: &BtfTracePointContext, sk: Address, cookie: u64, old: u32) {
    let errno = match old {
        SYN_SENT => EADDRNOTAVAIL,
        LISTEN => EADDRINUSE,
        _ => return ledger::bury(cookie),
    };
    let never_had_one = socket::port(sk) == 0 && read::<u16>(sk, global!(OFF_INET_SPORT)) == 0;
    if !never_had_one || socket::protocol(sk) != u16::from(TCP) {
        return ledger::bury(cookie);
    }
    let mut hold = Hold { protocol: TCP, state: state::BOUND, ..Hold::default() };
    socket::endpoints(sk, &mut hold);
    let (net, netns) = socket::namespace(sk);
    (hold.range_low, hold.range_high) = socket::range(net);
    hold.netns = netns;
    hold.owner = socket::owner(sk, TCP, netns);
    ledger::enrol(ctx, &hold.owner);
    ledger::fail(cookie, hold, errno);
}

/// `tcp_destroy_sock(struct sock *sk)` (include/trace/events/tcp.h): the end of every full TCP
/// socket, bound-only ones included; whatever it still holds goes now.
#[btf_tracepoint(function = "tcp_destroy_sock")]
fn tcp_destroy_sock(ctx: BtfTracePointContext) -> i32 {
    let sk: Address = ctx.arg(0);
    let cookie = socket::cookie(sk);
    match ledger::find(cookie) {
        Some(hold) => ledger::release(cookie, hold),
        None => ledger::bury(cookie),
    }
    0
}
