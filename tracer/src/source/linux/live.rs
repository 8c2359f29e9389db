//! The live source: attach, snapshot, then drain the ring buffer for as long as it takes.

use super::bpf::function_probes::UDP_UNHASH;
use super::bpf::layout::KernelLayout;
use super::bpf::ledger::{BpfMaps, Ledger};
use super::bpf::probes::Probes;
use super::kernel::clock;
use super::kernel::platform::{self, Platform};
use super::machine::{Host, Machine, Ring};
use super::memory;
use super::probe_source::{Parts, ProbeSource};
use super::snapshot::{self, Snapshot};
use super::track::Start;
use crate::event::{Capture, Event, HoldId, Incomplete};
use crate::source::{CaptureOptions, Source, SourceError, Stacks};
use aya::Btf;
use aya::maps::{MapData, RingBuf};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// How long at most records lie in the ring buffer. The probes wake us before that only when it
/// fills, or when a new owner wants its name looked up.
const LATENCY: Duration = Duration::from_millis(50);
/// `/proc/PID/stat` counts in USER_HZ.
pub(crate) const TICKS_PER_S: u64 = 100;

/// Linux, live.
pub struct Live {
    capture: Capture,
    source: ProbeSource,
    wake: AsyncFd<OwnedFd>,
    log: Option<aya_log::EbpfLogger<&'static dyn log::Log>>,
}

impl Live {
    /// Attaches the probes, then lists what is held already.
    ///
    /// # Errors
    /// When this machine cannot be traced: the first obstacle and its remedy.
    pub fn open(options: &CaptureOptions) -> Result<Self, SourceError> {
        let platform = platform::check()?;
        let mut probes = probes(&platform, options)?;
        let mut ledger = Ledger::new(Box::new(BpfMaps::take(&mut probes.ebpf)?));
        ledger.set_binds_seen(probes.shows_binds())?;
        let ring = ring(&mut probes)?;
        let wake = wake(&ring)?;
        let log = aya_log::EbpfLogger::init(&mut probes.ebpf).ok();
        let descriptors = probes.descriptors();
        ledger.set_snapshot(true)?;
        let Snapshot { events, pools, degraded } = snapshot::take(&mut ledger, &descriptors);
        ledger.set_snapshot(false)?;
        let mut capture = Capture {
            platform: "linux".to_owned(),
            kernel: platform.kernel,
            hooks: probes.hooks.clone(),
            degraded: platform.degraded,
            clock: clock::clock(),
            ticks_per_s: TICKS_PER_S,
            pools,
        };
        capture.degraded.extend(probes.degraded());
        capture.degraded.extend(degraded);
        memory::give_back();
        let start = Start {
            now_ns: clock::boot_ns(),
            snapshot: &events,
            pools: &capture.pools,
            shows_binds: probes.shows_binds(),
            shows_kernel_udp: probes.has(UDP_UNHASH),
            shows_all_processes: platform::shows_all_processes(),
            holders_are_costly: descriptors.are_costly(),
        };
        let parts = Parts {
            records: Box::new(Ring(ring)),
            ledger,
            system: Box::new(Machine::new(probes)),
            queries: Arc::new(Host { descriptors }),
            by_module: options.stacks != Stacks::None,
        };
        let source = ProbeSource::new(parts, &start);
        Ok(Self { capture, source, wake, log })
    }
}

impl Source for Live {
    fn capture(&self) -> &Capture {
        &self.capture
    }

    fn now_ns(&self) -> u64 {
        clock::boot_ns()
    }

    async fn ready(&mut self) {
        let woken = self.wake.readable();
        if let Ok(Ok(mut guard)) = tokio::time::timeout(LATENCY, woken).await {
            guard.clear_ready();
        }
    }

    fn drain(&mut self, events: &mut Vec<Event>) -> Result<(), SourceError> {
        self.source.drain(events);
        if let Some(log) = &mut self.log {
            log.flush();
        }
        Ok(())
    }

    fn mark_children(&mut self, on: bool) -> bool {
        self.source.mark_children(on)
    }

    fn resync(&mut self) {
        self.source.resync();
    }

    fn ask(&mut self, holds: &[HoldId]) {
        self.source.query_idle(holds);
    }

    fn incomplete(&self) -> Vec<Incomplete> {
        self.source.incomplete()
    }

    fn stop(&mut self, events: &mut Vec<Event>) -> Result<(), SourceError> {
        self.source.stop(events);
        Ok(())
    }
}

/// Loads and attaches the probes. The kernel's type information takes a tenth of a second to
/// parse, for the layout and for the loader: side by side.
fn probes(platform: &Platform, options: &CaptureOptions) -> Result<Probes, SourceError> {
    let (layout, btf) = std::thread::scope(|scope| {
        let btf = scope.spawn(Btf::from_sys_fs);
        (KernelLayout::read(), btf.join())
    });
    let btf = btf.map_err(|_| broken("the kernel's type information could not be parsed"))?;
    let btf =
        btf.map_err(|error| broken(&format!("the kernel's type information is not understood: {error}")))?;
    Probes::attach(&layout?, &btf, &platform.cgroup, options)
}

fn ring(probes: &mut Probes) -> Result<RingBuf<MapData>, SourceError> {
    let map = probes.ebpf.take_map("EVENTS").ok_or_else(|| broken("the probes have no ring buffer"))?;
    RingBuf::try_from(map)
        .map_err(|error| broken(&format!("the probes' ring buffer cannot be read: {error}")))
}

fn wake(ring: &RingBuf<MapData>) -> Result<AsyncFd<OwnedFd>, SourceError> {
    let watched = ring.as_fd().try_clone_to_owned().and_then(|fd| {
        // SAFETY: the descriptor is this AsyncFd's own duplicate and is not changed while it lives.
        Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?)
    });
    watched.map_err(|error| broken(&format!("the probes' ring buffer cannot be waited for: {error}")))
}

fn broken(what: &str) -> SourceError {
    SourceError {
        what: what.to_owned(),
        remedy: "report it with this text and the kernel's version".to_owned(),
    }
}
