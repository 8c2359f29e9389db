//! UDP: no tracepoint shows its ports; the cgroup socket hooks do.

use crate::kernel::Address;
use crate::ring::{emit_hold, header};
use crate::site::Hook;
use crate::socket::{self, Common};
use crate::{bind_notes, ledger, request, senders};
use aya_ebpf::EbpfContext;
use aya_ebpf::macros::{btf_tracepoint, cgroup_sock, cgroup_sock_addr};
use aya_ebpf::programs::{BtfTracePointContext, SockAddrContext, SockContext};
use core::ptr::read_volatile;
use portleak_ebpf::errno::EAGAIN;
use portleak_ebpf::protocol::UDP;
use portleak_ebpf::{Hold, flag, kind, state};

/// Before a `connect()` to an IPv4 address: a UDP socket without a port is about to get one
/// (`inet_dgram_connect` calls this, then `inet_autobind`).
#[cgroup_sock_addr(connect4)]
fn connect4(ctx: SockAddrContext) -> i32 {
    connect(&ctx, 4);
    1
}

/// Before a `connect()` to an IPv6 address.
#[cgroup_sock_addr(connect6)]
fn connect6(ctx: SockAddrContext) -> i32 {
    connect(&ctx, 6);
    1
}

/// Before a datagram is sent to an IPv4 address given with it; by now the socket has its port
/// (`inet_send_prepare` comes first).
#[cgroup_sock_addr(sendmsg4)]
fn sendmsg4(ctx: SockAddrContext) -> i32 {
    sendmsg(&ctx, 4);
    1
}

/// Before a datagram is sent to an IPv6 address given with it.
#[cgroup_sock_addr(sendmsg6)]
fn sendmsg6(ctx: SockAddrContext) -> i32 {
    sendmsg(&ctx, 6);
    1
}

/// The last descriptor of a user's socket was closed (`inet_release`): UDP gives its port back.
#[cgroup_sock(sock_release)]
fn sock_release(ctx: SockContext) -> i32 {
    // SAFETY: a field of the hook's context, as the verifier knows it.
    if unsafe { (*ctx.sock).protocol } != u32::from(UDP) {
        return 1;
    }
    // The context of this hook is the socket itself at run time.
    let sk = ctx.as_ptr() as Address;
    let cookie = socket::cookie(sk);
    let Some(hold) = ledger::find(cookie) else {
        // Its port was not of the pool; that of another socket with the same number may be.
        senders::forget(socket::port(sk));
        bind_notes::failed_before(&ctx, cookie);
        ledger::ended_untracked(cookie);
        return 1;
    };
    end(&ctx, sk, cookie, hold);
    1
}

/// `sock_send_length(struct sock *sk, int ret, int flags)` (include/trace/events/sock.h, since
/// 6.3): after every send, user's, kernel's or io_uring's. One that finds no port for its socket
/// fails with EAGAIN (`inet_send_prepare`, net/ipv4/af_inet.c), as one that would block does; but
/// then the socket has none.
#[btf_tracepoint(function = "sock_send_length")]
fn sock_send_length(ctx: BtfTracePointContext) -> i32 {
    if ctx.arg::<i32>(1) != -i32::from(EAGAIN) {
        return 0;
    }
    let sk: Address = ctx.arg(0);
    if socket::loaded_port(sk) != 0 || socket::protocol(sk) != u16::from(UDP) {
        return 0;
    }
    autobind_failed(&ctx, sk, socket::loaded_cookie(sk));
    0
}

/// Emits that a send has found no port for its socket.
#[inline(always)]
pub(crate) fn autobind_failed(ctx: &impl EbpfContext, sk: Address, cookie: u64) {
    if let Some(hold) = ledger::find(cookie) {
        end(ctx, sk, cookie, hold);
    }
    let common = Common::of(sk);
    let mut hold = Hold { protocol: UDP, state: state::BOUND, ..Hold::default() };
    common.endpoints(&mut hold);
    ledger::describe(sk, &common, &mut hold);
    ledger::fail(ctx, cookie, &hold, EAGAIN);
}

/// Ends a hold whose port is released now, or was released unseen by connect(AF_UNSPEC) before.
#[inline(always)]
pub(crate) fn end(ctx: &impl EbpfContext, sk: Address, cookie: u64, hold: &mut Hold) {
    match learn(sk, cookie, hold) {
        Port::Known | Port::Gone => ledger::release(cookie, hold),
        // Its connect found no port.
        Port::None => ledger::retract(ctx, cookie, hold, EAGAIN),
    }
}

/// Ends the hold of a socket that has been bound since: only one without a port can be
/// (`__inet_bind`), so its port was given back by connect(AF_UNSPEC), or never found.
#[inline(always)]
pub(crate) fn end_before_bind(ctx: &impl EbpfContext, sk: Address, cookie: u64, hold: &Hold) {
    if hold.flags & flag::UNCONFIRMED != 0 && !socket::was_connected(sk) {
        return ledger::retract(ctx, cookie, hold, EAGAIN);
    }
    ledger::release(cookie, hold);
}

#[inline(always)]
fn connect(ctx: &SockAddrContext, family: u8) {
    let Some(sk) = udp_socket(ctx) else {
        return;
    };
    let cookie = request::cookie(ctx);
    if let Some(hold) = ledger::find(cookie) {
        if socket::port(sk) != 0 {
            learn(sk, cookie, hold);
            set_remote(ctx, family, hold);
            hold.state = state::CONNECTED;
            emit_hold(header(kind::UPDATED, cookie), hold);
            return;
        }
        end(ctx, sk, cookie, hold);
    }
    let common = Common::of(sk);
    let port = common.port();
    let flags = if port == 0 { flag::UNCONFIRMED } else { 0 };
    let mut hold = Hold { protocol: UDP, state: state::CONNECTED, port, flags, ..Hold::default() };
    common.endpoints(&mut hold);
    set_remote(ctx, family, &mut hold);
    ledger::acquire(ctx, Hook::Cgroup, sk, &common, cookie, hold);
}

#[inline(always)]
fn sendmsg(ctx: &SockAddrContext, family: u8) {
    let Some(sk) = udp_socket(ctx) else {
        return;
    };
    let port = bound_port(ctx);
    let Some(sender) = senders::of(port) else {
        return;
    };
    if *sender == sk {
        return;
    }
    // The kernel's own sockets end without a word to `sock_release`.
    if !socket::is_kernels(sk, UDP) {
        *sender = sk;
    }
    let cookie = request::cookie(ctx);
    if let Some(hold) = ledger::find(cookie) {
        if matches!(learn(sk, cookie, hold), Port::Known) && u32::from(hold.port) == port {
            return;
        }
        // connect(AF_UNSPEC) gave the port back, and this datagram has got another.
        ledger::release(cookie, hold);
    }
    let common = Common::of(sk);
    let mut hold = Hold { protocol: UDP, state: state::BOUND, port: common.port(), ..Hold::default() };
    common.endpoints(&mut hold);
    set_remote(ctx, family, &mut hold);
    ledger::acquire(ctx, Hook::Cgroup, sk, &common, cookie, hold);
}

/// The socket, if it is UDP.
#[inline(always)]
fn udp_socket(ctx: &SockAddrContext) -> Option<Address> {
    let (protocol, sk) = request::protocol_and_socket(ctx)?;
    (protocol == u32::from(UDP)).then_some(sk)
}

/// The port of the socket that sends, without the price of reading kernel memory.
#[inline(always)]
fn bound_port(ctx: &SockAddrContext) -> u32 {
    // SAFETY: fields of the hook's context and of its socket, as the verifier knows them; the
    // socket is not null (see `udp_socket`).
    unsafe { read_volatile(&raw const (*(*ctx.sock_addr).__bindgen_anon_1.sk).src_port) }
}

enum Port {
    Known,
    /// There was one, and connect(AF_UNSPEC) gave it back before its number was seen.
    Gone,
    None,
}

/// Learns the number of a port that a UDP connect chose, if that is still open.
#[inline(always)]
fn learn(sk: Address, cookie: u64, hold: &mut Hold) -> Port {
    if hold.flags & flag::UNCONFIRMED == 0 {
        return Port::Known;
    }
    let port = socket::port(sk);
    if !socket::is_connected(sk) && socket::was_connected(sk) {
        return Port::Gone;
    }
    if port == 0 {
        return Port::None;
    }
    ledger::learn(cookie, hold, port);
    Port::Known
}

/// Sets the destination that the program asked for.
#[inline(always)]
fn set_remote(ctx: &SockAddrContext, family: u8, hold: &mut Hold) {
    hold.remote_port = request::port(ctx);
    hold.remote = request::ip(ctx, family, hold.family);
}
