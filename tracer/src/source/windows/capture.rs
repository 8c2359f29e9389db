//! The capture facts that live traces, one-shot lists and trace files share.

use super::etl::Header;
use super::model::{DEFAULT_RANGE, pool};
use crate::event::{Capture, Degradation, Hook, PoolId, PortRange, Protocol};
use std::collections::BTreeMap;

/// Ticks of 100 ns in a second.
const TICKS_PER_S: u64 = 10_000_000;
/// The first build with events for UDP ports: Windows 10 1607 and Server 2016.
const UDP_BUILD: u32 = 14_393;

/// What a trace of the Windows in `header` can see. A pool that is not in `known` has Windows' default.
pub(super) fn capture(
    header: &Header,
    hooks: Vec<Hook>,
    degraded: Vec<Degradation>,
    known: &BTreeMap<PoolId, PortRange>,
) -> Capture {
    let (major, minor) = header.version;
    let range = |id| (id, known.get(&id).copied().unwrap_or(DEFAULT_RANGE));
    Capture {
        platform: "windows".to_owned(),
        kernel: format!("{major}.{minor}.{}", header.build),
        hooks,
        degraded,
        clock: header.clock(),
        ticks_per_s: TICKS_PER_S,
        pools: [Protocol::Tcp, Protocol::Udp].map(|protocol| range(pool(protocol))).into(),
    }
}

/// The degradation of a Windows that reports no UDP ports.
pub(super) fn without_udp(header: &Header, remedy: &str) -> Option<Degradation> {
    (header.build < UDP_BUILD).then(|| Degradation {
        feature: "UDP ports".to_owned(),
        why: format!("Windows build {} has no events for them", header.build),
        remedy: remedy.to_owned(),
    })
}
