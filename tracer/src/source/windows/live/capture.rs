//! The capture facts of a live trace: what it sees, what it does not see, and the remedy.

use super::providers::PROVIDERS;
use crate::event::{Capture, Degradation, Hook, PoolId, PortRange};
use crate::source::Stacks;
use crate::source::windows::capture::{self as all, without_udp};
use crate::source::windows::etl::Header;
use std::collections::BTreeMap;

/// The facts collected at the start.
#[derive(Debug)]
pub struct Findings {
    /// Which acquisitions carry a stack.
    pub stacks: Stacks,
    /// Why Windows refused the stacks: an error number of winerror.h.
    pub stacks_refused: Option<u32>,
    /// The port ranges, as far as they are known.
    pub pools: BTreeMap<PoolId, PortRange>,
    /// What could not be listed.
    pub degraded: Vec<Degradation>,
}

/// What the trace can see.
#[must_use]
pub fn capture(header: &Header, findings: Findings) -> Capture {
    let (hooks, pools) = (hooks(&findings), findings.pools.clone());
    all::capture(header, hooks, degraded(header, findings), &pools)
}

fn hooks(findings: &Findings) -> Vec<Hook> {
    let stacks = match (findings.stacks, findings.stacks_refused) {
        (Stacks::None, _) => Some("not requested".to_owned()),
        (_, Some(number)) => Some(format!("Windows refuses it (error {number})")),
        (_, None) => None,
    };
    let providers =
        PROVIDERS.iter().map(|provider| Hook { name: provider.name.to_owned(), off_because: None });
    providers.chain([Hook { name: "stacks".to_owned(), off_because: stacks }]).collect()
}

fn degraded(header: &Header, findings: Findings) -> Vec<Degradation> {
    let udp = without_udp(header, "trace on Windows 10 1607, Server 2016 or later");
    let mut degraded: Vec<_> = udp.into_iter().collect();
    let mut limit = |feature: &str, why: String, remedy: &str| {
        degraded.push(Degradation { feature: feature.to_owned(), why, remedy: remedy.to_owned() });
    };
    if let Some(number) = findings.stacks_refused {
        let why = format!("Windows refuses the stacks of socket creation (error {number})");
        limit("System's ports by driver", why, "run portleak as Administrator, on Windows 8.1 or later");
    }
    if findings.stacks == Stacks::All {
        let why = "on Windows only stacks of kernel drivers are resolved".to_owned();
        limit("call sites of processes", why, "look for the named destination in the named program");
    }
    degraded.extend(findings.degraded);
    degraded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Protocol;
    use crate::source::windows::model::{DEFAULT_RANGE, pool};

    /// 2026-01-01 as FILETIME, an hour after boot.
    fn header(build: u32) -> Header {
        let now = 134_116_992_000_000_000;
        Header::of_session((10, 0, build), 1 << 16, now - 36_000_000_000, now)
    }

    fn findings() -> Findings {
        Findings {
            stacks: Stacks::Kernel,
            stacks_refused: None,
            pools: BTreeMap::new(),
            degraded: Vec::new(),
        }
    }

    #[test]
    fn all_is_well_on_a_new_windows() {
        let range = PortRange { low: 10_000, high: 20_000, reserved: 5 };
        let pools = [(pool(Protocol::Tcp), range)].into();
        let capture = capture(&header(26_100), Findings { pools, ..findings() });
        assert_eq!((capture.kernel.as_str(), capture.degraded.len()), ("10.0.26100", 0));
        assert!(capture.hooks.iter().all(|hook| hook.off_because.is_none()));
        assert_eq!(capture.clock.monotonic_ns, 3_600_000_000_000);
        assert_eq!(capture.clock.unix_ns, 1_767_225_600_000_000_000);
        assert_eq!(capture.pools[&pool(Protocol::Tcp)], range);
        assert_eq!(capture.pools[&pool(Protocol::Udp)], DEFAULT_RANGE);
    }

    #[test]
    fn each_limit_has_its_remedy() {
        let sockets = Degradation {
            feature: "ports held before the trace".to_owned(),
            why: "they cannot be listed".to_owned(),
            remedy: "begin the trace before the program".to_owned(),
        };
        let (stacks, stacks_refused) = (Stacks::All, Some(5));
        let limited = Findings { stacks, stacks_refused, degraded: vec![sockets], ..findings() };
        let capture = capture(&header(10_586), limited);
        let features: Vec<_> = capture.degraded.iter().map(|limit| limit.feature.as_str()).collect();
        assert_eq!(
            features,
            [
                "UDP ports",
                "System's ports by driver",
                "call sites of processes",
                "ports held before the trace"
            ]
        );
        let off = capture.hooks.iter().find(|hook| hook.off_because.is_some());
        assert_eq!(off.map(|hook| hook.name.as_str()), Some("stacks"));
    }

    #[test]
    fn unrequested_stacks_are_off() {
        let capture = capture(&header(26_100), Findings { stacks: Stacks::None, ..findings() });
        assert!(capture.degraded.is_empty());
        assert!(capture.hooks.iter().any(|hook| hook.off_because.is_some()));
    }
}
