//! Function probes: what no tracepoint shows, on kernels that let functions be probed.
//!
//! At its start user space tests that each one fires when it should. A function that the compiler has
//! copied into its caller can be attached to and is never entered (from 7.2 on `udp_lib_unhash`, when a
//! socket is disconnected).

use crate::control::switch;
use crate::kernel::Address;
use crate::{bind_notes, ledger, socket, udp};
use aya_ebpf::macros::{fentry, fexit, map};
use aya_ebpf::maps::Array;
use aya_ebpf::programs::{FEntryContext, FExitContext};
use portleak_ebpf::errno::EAGAIN;
use portleak_ebpf::protocol::UDP;
use portleak_ebpf::{control, flag, function};

/// How often each was run for the socket of [`control::SELF_TEST`].
#[map]
static RUNS: Array<u32> = Array::with_max_entries(function::COUNT, 0);

/// `int udp_lib_get_port(struct sock *sk, unsigned short snum, unsigned int hash2_nulladdr)`
/// (net/ipv4/udp.c) has found a port, or none.
#[fexit(function = "udp_lib_get_port")]
fn udp_lib_get_port(ctx: FExitContext) -> i32 {
    let (sk, asked_port): (Address, u16) = (ctx.arg(0), ctx.arg(1));
    ran(sk, function::UDP_LIB_GET_PORT);
    if socket::protocol(sk) != u16::from(UDP) {
        return 0;
    }
    let cookie = socket::loaded_cookie(sk);
    let found = ctx.arg::<i32>(3) == 0; // After the arguments; the helper for it is of 5.17.
    match ledger::find(cookie) {
        Some(hold) if found && hold.flags & flag::UNCONFIRMED != 0 => {
            ledger::learn(cookie, hold, socket::loaded_port(sk));
        }
        Some(hold) if !found && hold.flags & flag::UNCONFIRMED != 0 => {
            ledger::retract(&ctx, cookie, hold, EAGAIN);
        }
        _ if !found && asked_port == 0 && !bind_notes::refused(&ctx, cookie) => {
            udp::autobind_failed(&ctx, sk, cookie);
        }
        _ => {}
    }
    0
}

/// `int inet_csk_get_port(struct sock *sk, unsigned short snum)` (net/ipv4/inet_connection_sock.c)
/// has found no port for a `bind()`; what becomes of a `listen()`, its states show.
#[fexit(function = "inet_csk_get_port")]
fn inet_csk_get_port(ctx: FExitContext) -> i32 {
    let sk: Address = ctx.arg(0);
    ran(sk, function::INET_CSK_GET_PORT);
    if ctx.arg::<i32>(2) != 0 {
        bind_notes::refused(&ctx, socket::loaded_cookie(sk));
    }
    0
}

/// `void udp_lib_unhash(struct sock *sk)` (net/ipv4/udp.c) takes a port out of the tables: of a
/// socket of the kernel's own that is closed, of one that is disconnected.
#[fentry(function = "udp_lib_unhash")]
fn udp_lib_unhash(ctx: FEntryContext) -> i32 {
    let sk: Address = ctx.arg(0);
    ran(sk, function::UDP_LIB_UNHASH);
    let (cookie, port) = (socket::loaded_cookie(sk), socket::loaded_port(sk));
    if port == 0 || socket::protocol(sk) != u16::from(UDP) {
        return 0;
    }
    if let Some(hold) = ledger::find(cookie) {
        if hold.flags & flag::UNCONFIRMED != 0 {
            ledger::learn(cookie, hold, port);
        }
        ledger::release(cookie, hold);
    }
    0
}

/// `int __udp_disconnect(struct sock *sk, int flags)` (net/ipv4/udp.c): the port is released,
/// unless the program had asked for it by number.
#[fexit(function = "__udp_disconnect")]
fn __udp_disconnect(ctx: FExitContext) -> i32 {
    let sk: Address = ctx.arg(0);
    ran(sk, function::UDP_DISCONNECT);
    if socket::loaded_port(sk) != 0 || socket::protocol(sk) != u16::from(UDP) {
        return 0;
    }
    let cookie = socket::loaded_cookie(sk);
    if let Some(hold) = ledger::find(cookie) {
        udp::end(&ctx, sk, cookie, hold);
    }
    0
}

/// Counts the run of a probe, if it was for the socket of the self-test.
#[inline(always)]
fn ran(sk: Address, which: u32) {
    let tested = switch(control::SELF_TEST);
    if tested == 0 || tested != socket::loaded_cookie(sk) as u32 {
        return;
    }
    if let Some(runs) = RUNS.get_ptr_mut(which) {
        // SAFETY: the map's own memory; one thread tests.
        unsafe { *runs += 1 };
    }
}
