//! The machine that we run on, behind the seam of [`system`](super::system).

use super::system::{IdleTime, PortList, Queries, RangeAnswer, RangeQuery, Records, System};
use crate::event::{Frame, HoldId, NetNs, PortRange, ProcessFacts, ProcessId, Protocol};
use crate::source::linux::bpf::probes::Probes;
use crate::source::linux::bpf::wire::{self, Record, WireError};
use crate::source::linux::kernel::netns::{self, Namespace};
use crate::source::linux::kernel::{bind_test, clock, idle_connections, sock_diag};
use crate::source::linux::procfs::descriptors::Descriptors;
use crate::source::linux::procfs::{memory_maps, processes};
use crate::source::linux::track::reconcile::scan::{self, ScanRequest, ScanResult};
use aya::maps::{MapData, RingBuf};
use portleak_ebpf::Hold;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// The ring buffer.
pub struct Ring(pub RingBuf<MapData>);

impl Records for Ring {
    fn next(&mut self) -> Option<Result<Record, WireError>> {
        self.0.next().map(|bytes| wire::decode(&bytes))
    }
}

/// The kernel and its probes.
pub struct Machine {
    /// `None` once detached.
    probes: Option<Probes>,
    /// What was skipped until then.
    skipped: u64,
}

impl Machine {
    /// With attached probes.
    #[must_use]
    pub fn new(probes: Probes) -> Self {
        Self { probes: Some(probes), skipped: 0 }
    }
}

impl System for Machine {
    fn now_ns(&self) -> u64 {
        clock::boot_ns()
    }

    fn skipped(&self) -> u64 {
        self.probes.as_ref().map_or(self.skipped, Probes::skipped)
    }

    fn has_hook(&self, name: &str) -> bool {
        self.probes.as_ref().is_some_and(|probes| probes.has(name))
    }

    fn watch_sends(&mut self, on: bool) -> bool {
        self.probes.as_mut().is_some_and(|probes| probes.watch_sends(on))
    }

    fn detach(&mut self) {
        self.skipped = self.skipped();
        self.probes = None;
    }

    fn process(&self, pid: u32) -> Option<ProcessId> {
        processes::id(pid)
    }

    fn facts(&self, pid: u32) -> Option<(ProcessId, ProcessFacts)> {
        processes::facts_without_command_line(pid)
    }

    fn complete(&self, process: ProcessId, facts: ProcessFacts) -> ProcessFacts {
        processes::complete(process, facts)
    }
}

/// What workers ask of it.
#[derive(Debug)]
pub struct Host {
    /// How to learn who holds which socket.
    pub descriptors: Descriptors,
}

impl Queries for Host {
    fn command_line(&self, process: ProcessId) -> Option<Arc<str>> {
        let line = processes::command_line(process.pid)?;
        (processes::id(process.pid) == Some(process)).then_some(line)
    }

    fn frames(&self, process: ProcessId, addresses: &[u64]) -> Vec<Frame> {
        memory_maps::frames(process, addresses)
    }

    fn ports(&self, netns: NetNs, pids: &[u32], protocol: Protocol) -> PortList {
        let Some(namespace) = netns::find(netns, pids.iter().copied()) else {
            return PortList::Gone;
        };
        let dump = netns::within(&namespace, || sock_diag::dump(&[protocol]));
        let Ok(Ok(dump)) = dump else {
            return PortList::Unreadable;
        };
        PortList::Listed(dump.rows.into_iter().map(|row| (row.cookie, row.local_port)).collect())
    }

    fn port_ranges(&self, asked: Vec<RangeQuery>) -> Vec<RangeAnswer> {
        let answer = |RangeQuery { netns, path }| RangeAnswer {
            netns,
            found: path.and_then(|path| enter(netns, path)),
        };
        let mut answers: Vec<_> = asked.into_iter().map(answer).collect();
        if answers.iter().any(|answer| answer.found.is_none()) {
            let mut paths = netns::paths_by_id();
            for answer in answers.iter_mut().filter(|answer| answer.found.is_none()) {
                let path = paths.remove(&answer.netns);
                answer.found = path.and_then(|path| enter(answer.netns, path));
            }
        }
        answers
    }

    fn is_local(&self, netns: NetNs, pid: Option<u32>, protocol: Protocol, address: IpAddr) -> bool {
        netns::find(netns, pid.into_iter())
            .and_then(|namespace| netns::within(&namespace, || bind_test::is_local(protocol, address)).ok())
            .unwrap_or_default()
    }

    fn idle_times(&self, holds: Vec<(HoldId, Hold)>) -> Vec<IdleTime> {
        idle_connections::times(holds)
    }

    fn scan(&self, request: &ScanRequest) -> ScanResult {
        scan::scan(request, &self.descriptors)
    }
}

/// The range of the namespace behind a path, if that is still the one.
fn enter(netns: NetNs, path: PathBuf) -> Option<(PathBuf, PortRange)> {
    let namespace = Namespace::open(&path).ok().filter(|namespace| namespace.id == netns)?;
    let range = netns::within(&namespace, netns::port_range).ok()?.ok()?;
    Some((path, range))
}
