//! A hand-made leak, for the tests of every sink.

use super::context::Context;
use super::writer::Writer;
use crate::engine::report::{
    DestinationReport, Evidence, Finding, LeakKind, LifetimeReport, Owner, OwnerReport, PoolReport,
    ProtocolReport, SiteShare, Summary, Verdict,
};
use crate::event::{
    Capture, Clock, Degradation, Frame, Hook, NetNs, OwnerId, PoolId, PortRange, ProcessFacts, ProcessId,
    Protocol, SiteId,
};
use crate::symbols::Symbols;
use jiff::tz::TimeZone;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex};

/// One second before the trace began.
pub(crate) const STARTED_TICKS: u64 = 99_900;
/// When the trace began: 1,000 s after boot, which is 2026-05-01 09:12:04 UTC.
const BEGAN_NS: u64 = 1_000_000_000_000;
const NETNS: NetNs = NetNs(4_026_531_840);

/// `seconds` after the trace began.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small and positive")]
pub(crate) fn at(seconds: f64) -> u64 {
    BEGAN_NS + (seconds * 1e9) as u64
}

pub(crate) fn pool(protocol: Protocol) -> PoolId {
    PoolId { netns: NETNS, protocol }
}

pub(crate) fn range() -> PortRange {
    PortRange { low: 32768, high: 60999, reserved: 0 }
}

pub(crate) fn capture() -> Capture {
    Capture {
        platform: "linux".to_owned(),
        kernel: "6.8.0-45-generic".to_owned(),
        hooks: vec![
            Hook { name: "inet_sock_set_state".to_owned(), off_because: None },
            Hook {
                name: "udp_lib_unhash".to_owned(),
                off_because: Some("the kernel has no such function".to_owned()),
            },
        ],
        degraded: vec![Degradation {
            feature: "UDP ports of the kernel".to_owned(),
            why: "udp_lib_unhash is off".to_owned(),
            remedy: "use a kernel with CONFIG_FUNCTION_TRACER".to_owned(),
        }],
        clock: Clock { monotonic_ns: BEGAN_NS, unix_ns: 1_777_626_724_000_000_000 },
        ticks_per_s: 100,
        pools: BTreeMap::from([(pool(Protocol::Tcp), range()), (pool(Protocol::Udp), range())]),
    }
}

pub(crate) fn context() -> Context {
    Context::new(&capture(), Symbols::default(), TimeZone::UTC)
}

pub(crate) fn process(pid: u32, comm: &str) -> Owner {
    Owner {
        id: OwnerId::Process(ProcessId { pid, started_ticks: STARTED_TICKS }),
        facts: Some(ProcessFacts {
            comm: comm.into(),
            exe: Some(format!("/usr/bin/{comm}").into()),
            cmdline: Some(format!("{comm} leak.py").into()),
            uid: Some(0),
            ppid: Some(4709),
            netns: Some(NETNS),
            cgroup: Some("/user.slice/user-0.slice".into()),
            ..ProcessFacts::default()
        }),
    }
}

pub(crate) fn python() -> Owner {
    process(4711, "python3")
}

pub(crate) fn evidence() -> Evidence {
    Evidence {
        kind: LeakKind::Total,
        protocol: Protocol::Tcp,
        since_ns: at(0.0),
        held: 600,
        rate_per_s: 50.1,
        released_share: 0.0,
        exhaustion_in_s: Some(551.0),
        exhaustion_between_s: None,
        remote: Some(([127, 0, 0, 1], 9999).into()),
        usable: Some(28_232),
        site: None,
        oldest_ns: None,
        usual: None,
        abandoned: None,
        processes: None,
    }
}

pub(crate) fn half_used() -> Finding {
    Finding::HalfUsed {
        at_ns: at(10.5),
        owner: python(),
        pool: pool(Protocol::Tcp),
        remote: ([127, 0, 0, 1], 9999).into(),
        used: 14_117,
        usable: 28_232,
    }
}

/// `connect` of the C library, called by `fetch_and_forget`.
pub(crate) fn site(held: u64, of: u64) -> SiteShare {
    let frame =
        |name: &str, module: Option<&str>| Frame::Named { name: name.into(), module: module.map(Into::into) };
    let frames = [frame("connect", Some("libc.so.6")), frame("fetch_and_forget", None)].into();
    SiteShare { id: SiteId(NonZeroU64::MIN), frames, held, of }
}

pub(crate) fn leaker() -> OwnerReport {
    OwnerReport {
        owner: python(),
        tcp: ProtocolReport { acquired: 620, released: 20, held: 600, ..ProtocolReport::default() },
        udp: ProtocolReport::default(),
        lifetime: LifetimeReport {
            count: 20,
            p50: Some(0.002),
            p90: Some(0.004),
            p99: Some(0.005),
            max: Some(0.006),
        },
        oldest_held_s: Some(11.8),
        verdict: Verdict::Leak,
        evidence: vec![evidence()],
    }
}

/// One that took ports and gave them back.
pub(crate) fn innocent(pid: u32) -> OwnerReport {
    OwnerReport {
        owner: process(pid, "curl"),
        tcp: ProtocolReport { acquired: 5, released: 4, held: 1, time_wait: 4, ..ProtocolReport::default() },
        udp: ProtocolReport::default(),
        lifetime: LifetimeReport::default(),
        oldest_held_s: None,
        verdict: Verdict::Clean,
        evidence: vec![],
    }
}

pub(crate) fn summary(owners: Vec<OwnerReport>) -> Summary {
    Summary {
        at_ns: at(12.1),
        duration_s: 12.1,
        events: 48_211,
        lost: 0,
        corrections: 0,
        folded: 0,
        evicted: 0,
        owners,
        pools: vec![PoolReport {
            id: pool(Protocol::Tcp),
            range: Some(range()),
            used: 600,
            peak: 610,
            time_wait: 4,
            forecast: None,
            destinations: vec![DestinationReport {
                remote: ([127, 0, 0, 1], 9999).into(),
                used: 600,
                usable: 28_232,
                forecast: None,
            }],
        }],
    }
}

/// Who holds what, nothing of it traced.
pub(crate) fn snapshot() -> Summary {
    let mut nginx = innocent(815);
    nginx.owner = process(815, "nginx");
    if let Some(facts) = &mut nginx.owner.facts {
        facts.service = Some("nginx.service".into());
        facts.cgroup = Some("/system.slice/nginx.service".into());
    }
    nginx.tcp = ProtocolReport { held: 600, held_bound_only: 25, close_wait: 3, ..ProtocolReport::default() };
    nginx.udp = ProtocolReport { held: 2, ..ProtocolReport::default() };
    let mut orphans = innocent(0);
    orphans.owner = Owner { id: OwnerId::Unowned, facts: None };
    orphans.tcp = ProtocolReport { held: 1, ..ProtocolReport::default() };
    Summary { duration_s: 0.0, events: 607, ..summary(vec![nginx, orphans]) }
}

/// Collects what a sink writes.
#[derive(Clone, Default)]
pub(crate) struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    pub(crate) fn writer(&self) -> Writer {
        Writer::new("test", Box::new(self.clone()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Compares with a file of `tests/golden`, or writes it when `PORTLEAK_BLESS` is set.
pub(crate) fn golden(name: &str, expected: &str, actual: &str) {
    if std::env::var_os("PORTLEAK_BLESS").is_some() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden");
        std::fs::write(format!("{folder}/{name}"), actual).unwrap();
        return;
    }
    assert_eq!(expected, actual, "{name}; PORTLEAK_BLESS=1 rewrites it");
}
