//! TCP: connected, listening, closed.

use crate::kernel::{Address, global, read};
use crate::ring::{emit, emit_hold, header};
use crate::site::Hook;
use crate::socket::{self, Common};
use crate::{bind_notes, ledger};
use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::bpf_get_socket_cookie;
use aya_ebpf::macros::{btf_tracepoint, cgroup_sock, map};
use aya_ebpf::maps::PerCpuArray;
use aya_ebpf::programs::{BtfTracePointContext, SockContext};
use portleak_ebpf::errno::{EADDRINUSE, EADDRNOTAVAIL};
use portleak_ebpf::protocol::TCP;
use portleak_ebpf::{Header, Hold, flag, kind, state};

// include/net/tcp_states.h
const ESTABLISHED: u32 = 1;
const SYN_SENT: u32 = 2;
const TIME_WAIT: u32 = 6;
const CLOSE: u32 = 7;
const CLOSE_WAIT: u32 = 8;
const LISTEN: u32 = 10;
const NEW_SYN_RECV: u32 = 12;

/// On kernels that do not let the tracepoints below ask for a cookie (< 5.12) every user socket
/// gets its own at birth, so that they can read it.
#[cgroup_sock(sock_create)]
fn sock_create(ctx: SockContext) -> i32 {
    // SAFETY: the helper takes this hook's context.
    unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    1
}

/// The change of state that the first of the two probes below has just dealt with on this CPU, as
/// [`change`] has it.
#[map]
static DEALT_WITH: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// `inet_sock_set_state(const struct sock *sk, const int oldstate, const int newstate)`
/// (include/trace/events/sock.h), in the task that connects or listens on the way there.
#[btf_tracepoint(function = "inet_sock_set_state")]
fn inet_sock_set_state(ctx: BtfTracePointContext) -> i32 {
    change_state(&ctx);
    if let Some(last) = DEALT_WITH.get_ptr_mut(0) {
        // SAFETY: the map's own memory, this CPU's slot.
        unsafe { *last = change(&ctx) };
    }
    0
}

/// The same hook once more. The kernel skips a tracing program that is already running on the CPU
/// (`prog->active`, kernel/bpf/trampoline.c and kernel/trace/bpf_trace.c): a softirq that comes
/// while a task's change of state is being dealt with would go unseen. It finds one of the two
/// idle; and whatever both of them see, the second finds done.
#[btf_tracepoint(function = "inet_sock_set_state")]
fn inet_sock_set_state_nested(ctx: BtfTracePointContext) -> i32 {
    if let Some(last) = DEALT_WITH.get_ptr_mut(0) {
        // SAFETY: as above.
        let last = unsafe { core::mem::replace(&mut *last, 0) };
        if last == change(&ctx) {
            return 0;
        }
    }
    change_state(&ctx);
    0
}

/// One number for socket and new state.
#[inline(always)]
fn change(ctx: &BtfTracePointContext) -> u64 {
    socket::loaded_cookie(ctx.arg(0)) << 8 | u64::from(ctx.arg::<u32>(2) & 0xff)
}

#[inline(always)]
fn change_state(ctx: &BtfTracePointContext) {
    let sk: Address = ctx.arg(0);
    let new: u32 = ctx.arg(2);
    let begins = new == SYN_SENT || new == LISTEN;
    let cookie = if begins { asked_cookie(ctx, sk) } else { socket::loaded_cookie(sk) };
    match ledger::find(cookie) {
        Some(hold) if new == CLOSE => closed(ctx, sk, cookie, hold),
        Some(hold) => follow(sk, cookie, hold, new),
        None if begins => begin(ctx, sk, cookie, new),
        None if new == CLOSE => ledger::ended_untracked(cookie),
        None => {}
    }
}

/// The socket's cookie, made if need be and if this kernel lets us (`bpf_get_socket_cookie` in
/// tracing programs, since 5.12).
#[inline(always)]
fn asked_cookie(ctx: &BtfTracePointContext, sk: Address) -> u64 {
    if global!(CAN_ASK_COOKIE) == 0 {
        return socket::loaded_cookie(sk);
    }
    // SAFETY: the tracepoint's own argument, which the verifier knows as a socket.
    unsafe { bpf_get_socket_cookie(ctx.arg::<*mut core::ffi::c_void>(0)) }
}

/// A socket that holds nothing is about to connect or listen. If it has no port yet, the kernel
/// chooses one next (`inet_hash_connect`, `inet_csk_listen_start`): its number is seen at the next
/// change of state, or there was none to be had.
#[inline(always)]
fn begin(ctx: &BtfTracePointContext, sk: Address, cookie: u64, new: u32) {
    if cookie == 0 || socket::protocol(sk) != u16::from(TCP) {
        return;
    }
    let common = Common::of(sk);
    let port = common.port();
    let flags = if port == 0 { flag::UNCONFIRMED } else { 0 };
    let state = if new == LISTEN { state::LISTEN } else { state::SYN_SENT };
    let mut hold = Hold { protocol: TCP, state, port, flags, ..Hold::default() };
    common.endpoints(&mut hold);
    ledger::acquire(ctx, Hook::Tracepoint, sk, &common, cookie, hold);
}

/// A held socket went to CLOSE. Its port has already been given back, which shows as `num` 0,
/// unless the program had asked for it by number (`tcp_set_state`, SOCK_BINDPORT_LOCK). If it
/// never had any, its source port is 0 too.
#[inline(always)]
fn closed(ctx: &BtfTracePointContext, sk: Address, cookie: u64, hold: &mut Hold) {
    if socket::loaded_port(sk) != 0 {
        return follow(sk, cookie, hold, CLOSE);
    }
    if hold.flags & flag::UNCONFIRMED != 0 {
        let port = u16::from_be(read(sk, global!(OFF_INET_SPORT)));
        if port == 0 {
            let errno = if hold.state == state::LISTEN { EADDRINUSE } else { EADDRNOTAVAIL };
            return ledger::retract(ctx, cookie, hold, errno);
        }
        ledger::learn(cookie, hold, port);
    }
    ledger::release(cookie, hold);
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
        Common::of(sk).endpoints(hold);
        emit_hold(header(kind::UPDATED, cookie), hold);
        return;
    }
    let mut port = 0;
    if hold.flags & flag::UNCONFIRMED != 0 {
        port = socket::loaded_port(sk);
        ledger::confirm(hold, port);
    }
    emit(Header { code: next, port, ..header(kind::STATE, cookie) });
}

/// `tcp_destroy_sock(struct sock *sk)` (include/trace/events/tcp.h): the end of every full TCP
/// socket, bound-only ones included; whatever it still holds goes now.
#[btf_tracepoint(function = "tcp_destroy_sock")]
fn tcp_destroy_sock(ctx: BtfTracePointContext) -> i32 {
    let sk: Address = ctx.arg(0);
    let cookie = socket::loaded_cookie(sk);
    match ledger::find(cookie) {
        Some(hold) => ledger::release(cookie, hold),
        None => ledger::ended_untracked(cookie),
    }
    // One that has connected since is not looked for here: most sockets that end are such, and this
    // saves them a look-up.
    if socket::loaded_port(sk) == 0 && !socket::loaded_was_connected(sk) {
        bind_notes::failed_before(&ctx, cookie);
    }
    0
}
