//! Binds that found no port.
//!
//! The probes note every `bind()` that leaves the choice to the kernel, and know that it failed when
//! its socket is bound again or closed. A socket that is merely kept shows nothing more: its note is
//! found here. And that a bind failed does not say why: an address that is not this machine's fails,
//! too (`EADDRNOTAVAIL`). An address to which another bind has succeeded is local; for others the
//! kernel is asked, from inside the namespace.
//!
//! Not told: a bind to a foreign address that only `IP_FREEBIND` or `IP_TRANSPARENT` let through and
//! that then found no port; and one whose namespace is gone before it can be asked.

use crate::event::{Acquired, Failed, FailureCode, NetNs, OwnerId, Protocol, SocketState};
use crate::source::linux::bpf::ledger::Ledger;
use crate::source::linux::kernel::netns;
use portleak_ebpf::{Header, HoldRecord, kind};
use rustc_hash::FxHashMap;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

/// How long a bind may take: it waits for its socket's lock, and its task for a CPU.
const ANSWER_MAX_NS: u64 = 1_000_000_000;
/// How often unanswered binds are looked for.
const EVERY_NS: u64 = 200_000_000;
/// How long is remembered whether an address is local.
const LOCAL_NS: u64 = 5_000_000_000;
/// Addresses that are remembered.
const LOCAL_MAX: usize = 4_096;
/// `EADDRINUSE`.
const EADDRINUSE: u8 = 98;

/// What is known of binds.
#[derive(Debug, Default)]
pub struct FailedBinds {
    /// Whether function probes tell of failures: then what they leave unanswered failed otherwise.
    told_at_once: bool,
    looked_ns: u64,
    /// Whether an address is local, and until when to believe it.
    local: FxHashMap<(NetNs, IpAddr), (bool, u64)>,
}

impl FailedBinds {
    /// With or without function probes.
    #[must_use]
    pub fn new(told_at_once: bool) -> Self {
        Self { told_at_once, ..Self::default() }
    }

    /// The failures of those that were not answered, as the probes would have told them.
    pub fn look(&mut self, now_ns: u64, ledger: &mut Ledger) -> Vec<HoldRecord> {
        if now_ns < self.looked_ns + EVERY_NS {
            return Vec::new();
        }
        self.looked_ns = now_ns;
        let unanswered = ledger.take_unanswered(now_ns.saturating_sub(ANSWER_MAX_NS));
        let failed = unanswered.into_iter().filter(|_| !self.told_at_once).map(|(cookie, hold)| {
            ledger.enter_owner(&hold.owner); // As the probes do, so that its end is told.
            let header =
                Header { at_ns: now_ns, cookie, kind: kind::FAILED, code: EADDRINUSE, ..Header::default() };
            HoldRecord { header, hold }
        });
        failed.collect()
    }

    /// Takes note of a bind that has succeeded.
    pub fn succeeded(&mut self, acquired: &Acquired, at_ns: u64) {
        if !self.told_at_once && acquired.state == SocketState::Bound && !acquired.local.is_unspecified() {
            self.remember((acquired.pool.netns, acquired.local), true, at_ns);
        }
    }

    /// Whether a failure was for want of a port: not if its address cannot be bound to at all.
    pub fn wanted_port(&mut self, failed: &Failed, at_ns: u64) -> bool {
        let (FailureCode::EADDRINUSE, Some(address), false) = (failed.code, failed.local, self.told_at_once)
        else {
            return true;
        };
        let key = (failed.pool.netns, address);
        if let Some(&(local, until_ns)) = self.local.get(&key)
            && at_ns <= until_ns
        {
            return local;
        }
        let local = is_local(failed, address);
        self.remember(key, local, at_ns);
        local
    }

    fn remember(&mut self, key: (NetNs, IpAddr), local: bool, at_ns: u64) {
        if self.local.len() >= LOCAL_MAX {
            self.local.clear();
        }
        self.local.insert(key, (local, at_ns + LOCAL_NS));
    }
}

/// Whether the victim's namespace lets a socket be bound to `address`. One that is gone does not
/// tell, and nothing is claimed then.
fn is_local(failed: &Failed, address: IpAddr) -> bool {
    let pid = match &failed.owner {
        OwnerId::Process(id) => Some(id.pid),
        OwnerId::System { .. } | OwnerId::Program(_) | OwnerId::Unowned => None,
    };
    let namespace = netns::find(failed.pool.netns, pid.into_iter());
    let tried = namespace.map(|namespace| netns::within(&namespace, || bind(failed.pool.protocol, address)));
    match tried {
        Some(Ok(Ok(()))) => true,
        // An address of a link needs to know the link, which is no matter of the address.
        Some(Ok(Err(error))) => error.raw_os_error() == Some(libc::EINVAL),
        Some(Err(_)) | None => false,
    }
}

/// Binds a socket to an address and to no port: `__inet_bind` (net/ipv4/af_inet.c) and
/// `__inet6_bind` (net/ipv6/af_inet6.c) check the one and leave out the other.
fn bind(protocol: Protocol, address: IpAddr) -> io::Result<()> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let kind = match protocol {
        Protocol::Tcp => SocketType::STREAM,
        Protocol::Udp => SocketType::DGRAM,
    };
    let socket = net::socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    leave_out_port(&socket)?;
    Ok(net::bind(&socket, &SocketAddr::new(address, 0))?)
}

/// `IP_BIND_ADDRESS_NO_PORT`, which IPv6 sockets take, too.
fn leave_out_port(socket: &OwnedFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    let (fd, option) = (socket.as_raw_fd(), libc::IP_BIND_ADDRESS_NO_PORT);
    // SAFETY: an initialized int and its length.
    let set = unsafe { libc::setsockopt(fd, libc::IPPROTO_IP, option, (&raw const on).cast(), 4) };
    if set < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{PoolId, ProcessId};
    use crate::source::linux::filter_targets;

    fn failed(code: FailureCode, local: Option<&str>) -> Failed {
        Failed {
            owner: OwnerId::Process(ProcessId { pid: std::process::id(), started_ticks: 0 }),
            pool: PoolId { netns: filter_targets::own_netns().unwrap(), protocol: Protocol::Tcp },
            code,
            local: local.map(|address| address.parse().unwrap()),
            remote: None,
            retracts: None,
        }
    }

    #[test]
    fn an_address_that_is_not_ours_is_no_want_of_ports() {
        let mut binds = FailedBinds::default();
        let mut wanted = |local| binds.wanted_port(&failed(FailureCode::EADDRINUSE, local), 0);
        assert!(wanted(None), "any address");
        assert!(wanted(Some("127.0.0.1")));
        assert!(!wanted(Some("192.0.2.1")), "for documentation only (RFC 5737)");
        assert!(!wanted(Some("2001:db8::1")), "likewise (RFC 3849)");
    }

    #[test]
    fn connect_names_its_address_for_another_reason() {
        let mut binds = FailedBinds::default();
        assert!(binds.wanted_port(&failed(FailureCode::EADDRNOTAVAIL, Some("192.0.2.1")), 0));
    }

    #[test]
    fn what_is_known_of_an_address_is_believed_for_a_while() {
        let mut binds = FailedBinds::default();
        let foreign = failed(FailureCode::EADDRINUSE, Some("192.0.2.1"));
        binds.local.insert((foreign.pool.netns, foreign.local.unwrap()), (true, 100));
        assert!(binds.wanted_port(&foreign, 100));
        assert!(!binds.wanted_port(&foreign, 101));
    }

    #[test]
    fn a_namespace_that_is_gone_claims_nothing() {
        let pool = PoolId { netns: NetNs(1), protocol: Protocol::Udp };
        let nowhere = Failed { pool, ..failed(FailureCode::EADDRINUSE, Some("127.0.0.1")) };
        assert!(!FailedBinds::default().wanted_port(&nowhere, 0));
    }
}
