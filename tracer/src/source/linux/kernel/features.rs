//! What this kernel lets probes do, decided by trying it, never by its version: distributions carry
//! features back to older kernels.
//!
//! Where a whole program is in question (a hook, a function probe, the iterator over open files) it
//! is simply loaded. Here is what decides how the programs are written: helpers, of which a program
//! that calls one in vain is refused as a whole. A version is named in texts for people only.

use crate::source::linux::bpf::btf::{BTF, Btf};
use aya::programs::ProgramType;
use aya::sys::{BpfHelper, is_helper_supported};
use std::sync::OnceLock;

/// The kernel's function behind `bpf_get_socket_cookie` for tracing programs (net/core/filter.c).
const SOCKET_COOKIE: &str = "bpf_get_socket_ptr_cookie";

/// The state by which `sock_diag` lists TCP sockets that are bound and nothing else (upstream since
/// 6.8; include/net/tcp_states.h).
const BOUND_STATE: &str = "TCP_BOUND_INACTIVE";
static LISTS_BOUND: OnceLock<bool> = OnceLock::new();

/// What this kernel lets probes do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// Tracing programs may ask for a socket's cookie (upstream since 5.12).
    pub socket_cookie: bool,
    /// Cgroup hooks may ask what the programs before them decided (`bpf_get_retval`, upstream for
    /// hooks of addresses since 6.1).
    pub bind_verdict: bool,
    /// Cgroup hooks may ask for the current task's stack (`bpf_get_task_stack`; refused by 6.12,
    /// granted by 6.18).
    pub task_stack: bool,
}

impl Features {
    /// Tries them. A tracing program cannot be tried without the function that it is for, so the
    /// kernel's own type information says whether it has that helper.
    #[must_use]
    pub fn detect(btf: &Btf) -> Self {
        LISTS_BOUND.get_or_init(|| lists_bound(btf));
        Self {
            socket_cookie: btf.has_function(SOCKET_COOKIE),
            bind_verdict: is_granted(ProgramType::CgroupSockAddr, BpfHelper::BPF_FUNC_get_retval),
            task_stack: [ProgramType::CgroupSockAddr, ProgramType::CgroupSock].into_iter().all(|kind| {
                is_granted(kind, BpfHelper::BPF_FUNC_get_task_stack)
                    && is_granted(kind, BpfHelper::BPF_FUNC_get_current_task_btf)
            }),
        }
    }
}

/// Whether `sock_diag` lists TCP sockets that are bound and nothing else; not, as far as is known,
/// where the kernel hides its type information.
#[must_use]
pub fn lists_bound_sockets() -> bool {
    *LISTS_BOUND.get_or_init(|| {
        let btf = std::fs::read(BTF).ok().and_then(|data| Btf::parse(data).ok());
        btf.is_some_and(|btf| lists_bound(&btf))
    })
}

fn lists_bound(btf: &Btf) -> bool {
    btf.constant(BOUND_STATE).is_some()
}

/// Whether a program of that type may call a helper. What cannot be tried is not used.
fn is_granted(program: ProgramType, helper: BpfHelper) -> bool {
    is_helper_supported(program, helper).unwrap_or_else(|error| {
        log::debug!("a helper of {program:?} could not be tried: {error}");
        false
    })
}
