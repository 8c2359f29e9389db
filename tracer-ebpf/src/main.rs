//! The probes: BTF tracepoints and cgroup socket hooks, the same set on every kernel from 5.10 on;
//! and function probes where the kernel permits them.
//!
//! A probe is named after its hook, so that `bpftool prog` explains itself. What is surprising: no
//! tracepoint shows a port being chosen. `bind()` is seen by `post_bind` right after, UDP's
//! `sendto()` by `sendmsg`; but `connect()` and `listen()` are seen right before, so their holds
//! are entered unconfirmed, and the number comes with the socket's next change, or there was none
//! to be had. And a port is released not when its descriptor is closed but when the kernel takes
//! it out of its tables, which the TCP state tracepoint shows as `num` being 0.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

#[cfg(not(target_arch = "bpf"))]
compile_error!("the probes are built by `cargo xtask build-probes`");

mod atomic;
mod bind;
mod bind_notes;
mod control;
mod files;
mod functions;
mod kernel;
mod ledger;
mod name;
mod owners;
mod process;
mod request;
mod ring;
mod senders;
mod site;
mod socket;
mod task;
mod tcp;
mod timewait;
mod tree;
mod udp;
mod udp_pool;

/// Never reached: the verifier refuses a program that could get here.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// What the kernel checks before it lets a program call GPL-only helpers.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
