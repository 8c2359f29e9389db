//! Who holds what at this instant, without probes: what any user may see of it.

use crate::event::{Capture, Event, EventKind, HoldId, OwnerId};
use crate::source::linux::bpf::wire;
use crate::source::linux::kernel::{clock, platform};
use crate::source::linux::live::TICKS_PER_S;
use crate::source::linux::procfs::descriptors::{Descriptors, Holders};
use crate::source::linux::procfs::processes;
use crate::source::linux::snapshot::{self, View};
use crate::source::worker::{Limits, Outcome, Refused, Worker};
use crate::source::{OneShot, SourceError};
use portleak_ebpf::OwnerKey;
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::Arc;
use std::time::Duration;

const NAMES: Limits = Limits { queue_max: 1 << 20, deadline_ns: 100_000_000 };
/// How often to see whether one hangs.
const POLL: Duration = Duration::from_millis(10);

/// Takes the picture.
///
/// # Errors
/// When not a single network namespace can be looked into.
pub fn take() -> Result<OneShot, SourceError> {
    let (kernel, mut degraded) = platform::sight()?;
    let (views, holders) = snapshot::survey(&mut degraded, &Descriptors::Proc);
    if views.is_empty()
        && let Some(obstacle) = degraded.pop()
    {
        return Err(SourceError { what: obstacle.why, remedy: obstacle.remedy });
    }
    let mut owners = FxHashSet::default();
    let holds: Vec<Event> = views.iter().flat_map(|view| holds(view, &holders, &mut owners)).collect();
    let mut events = names(owners.iter());
    for view in &views {
        events.extend(view.pools().chain(view.time_waits()));
    }
    events.extend(holds);
    let pools = views.iter().flat_map(|view| view.ids().map(|pool| (pool, view.settings()))).collect();
    let capture = Capture {
        platform: "linux".to_owned(),
        kernel,
        hooks: Vec::new(),
        degraded,
        clock: clock::clock(),
        ticks_per_s: TICKS_PER_S,
        pools,
    };
    Ok(OneShot { capture, events, at_ns: clock::boot_ns() })
}

/// The holds of a namespace; their owners go to `owners`.
fn holds(view: &View, holders: &Holders, owners: &mut FxHashSet<OwnerKey>) -> Vec<Event> {
    let holds = snapshot::holds(view, holders).into_iter();
    let told = holds.filter_map(|(cookie, hold)| {
        let acquired = wire::acquired(HoldId(cookie), &hold, view.settings().reserved).ok()?;
        if acquired.owner != OwnerId::Unowned {
            owners.insert(hold.owner);
        }
        Some(Event { at_ns: hold.acquired_ns, kind: EventKind::Acquired(acquired) })
    });
    told.collect()
}

/// What the owners among these are called. Command lines are read by a worker, for a process can
/// make that hang; it is then named without.
fn names<'a>(owners: impl Iterator<Item = &'a OwnerKey>) -> Vec<Event> {
    let at_ns = clock::boot_ns();
    let known = owners
        .filter(|owner| owner.pid != 0)
        .filter_map(|owner| processes::facts_without_command_line(owner.pid));
    let mut named: Vec<_> = known.collect();
    let mut lines = command_lines(named.iter().map(|(id, _)| id.pid));
    for (id, facts) in &mut named {
        facts.cmdline = lines.remove(&id.pid);
    }
    named.into_iter().map(|(id, facts)| Event { at_ns, kind: EventKind::Process { id, facts } }).collect()
}

fn command_lines(pids: impl Iterator<Item = u32>) -> FxHashMap<u32, Arc<str>> {
    let mut worker = Worker::new("names", NAMES);
    for pid in pids {
        // What there is no room for is not named in full.
        let _: Result<(), Refused> = worker.submit(pid, move || processes::command_line(pid));
    }
    let mut lines = FxHashMap::default();
    loop {
        let is_idle = worker.wait(POLL);
        while let Some(outcome) = worker.poll(clock::boot_ns()) {
            if let Outcome::Done(pid, Some(line)) = outcome {
                lines.insert(pid, line);
            }
        }
        if is_idle {
            break;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{NetNs, Protocol};
    use crate::source::linux::filter_targets::own_netns;
    use std::net::{SocketAddr, TcpListener, UdpSocket};

    #[test]
    fn our_own_ports_are_in_it_and_ours() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = UdpSocket::bind("[::1]:0").unwrap();
        let picture = take().unwrap();
        let netns = own_netns().unwrap();
        for (address, protocol) in
            [(tcp.local_addr().unwrap(), Protocol::Tcp), (udp.local_addr().unwrap(), Protocol::Udp)]
        {
            let owners: Vec<_> =
                picture.events.iter().filter_map(|event| owner(event, netns, address)).collect();
            let [(found, OwnerId::Process(owner))] = &owners[..] else { panic!("{owners:?}") };
            assert_eq!((*found, owner.pid), (protocol, std::process::id()));
        }
        let is_named = |event: &Event| matches!(&event.kind, EventKind::Process { id, .. } if id.pid == std::process::id());
        assert!(picture.events.iter().any(is_named));
        assert!(!picture.capture.pools.is_empty());
    }

    /// Other namespaces may use the same port.
    fn owner(event: &Event, netns: NetNs, address: SocketAddr) -> Option<(Protocol, OwnerId)> {
        let EventKind::Acquired(acquired) = &event.kind else { return None };
        let same = acquired.local == address.ip() && acquired.port == Some(address.port());
        (same && acquired.pool.netns == netns).then(|| (acquired.pool.protocol, acquired.owner.clone()))
    }
}
