//! The one-shot list: which owner holds which port now, as Windows lists it. It needs no session and no
//! rights.

use super::capture::capture;
use super::decoded_event::{Process, Service};
use super::etl::Header;
use super::inventory::Row;
use super::inventory::ranges::Ranges;
use super::model::{Background, Model};
use crate::event::{Degradation, Event, EventKind, PoolId, PortRange};
use crate::source::OneShot;

/// The state of the machine, as Windows lists it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The version of Windows: major, minor, build.
    pub version: (u32, u32, u32),
    /// When it booted, as FILETIME.
    pub boot: u64,
    /// When the sockets were listed, as FILETIME.
    pub now: u64,
    /// The sockets, each listed once.
    pub rows: Vec<Row>,
    /// The processes.
    pub processes: Vec<Process>,
    /// The services.
    pub services: Vec<Service>,
    /// The port ranges.
    pub ranges: Ranges,
    /// What could not be listed, besides what `ranges` lacks.
    pub degraded: Vec<Degradation>,
}

/// The one-shot list of this state.
#[must_use]
pub fn one_shot(seen: &Seen) -> OneShot {
    let header = Header::of_session(seen.version, 0, seen.boot, seen.now);
    let at_ns = header.start_ns();
    let degraded = [&seen.degraded[..], &seen.ranges.unknown].concat();
    let capture = capture(&header, Vec::new(), degraded, &seen.ranges.pools);
    let pool_event =
        |(&pool, &range): (&PoolId, &PortRange)| Event { at_ns, kind: EventKind::Pool { pool, range } };
    let mut events: Vec<Event> = capture.pools.iter().map(pool_event).collect();
    let background = Background {
        processes: seen.processes.clone(),
        services: seen.services.clone(),
        has_tcpip: true,
        ranges: capture.pools.clone(),
        ..Background::default()
    };
    Model::new(&header, &background).resync(at_ns, &seen.rows, &mut events);
    OneShot { capture, events, at_ns }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Acquired, OwnerId, ProcessId, Protocol, SocketState};
    use crate::source::windows::decoded_event::ProcessLife;
    use crate::source::windows::inventory::RowState;
    use crate::source::windows::model::{DEFAULT_RANGE, pool};

    const BOOT: u64 = 133_000_000_000_000_000;
    const SECOND: u64 = 10_000_000;

    fn row(protocol: Protocol, local: &str, remote: Option<&str>, state: RowState, pid: u32) -> Row {
        let remote = remote.map(|remote| remote.parse().unwrap());
        Row { protocol, local: local.parse().unwrap(), remote, state, pid }
    }

    fn process(pid: u32, image: &str) -> Process {
        Process {
            life: ProcessLife::Exists,
            pid,
            parent: Some(600),
            parent_start_key: None,
            created: Some(BOOT + SECOND),
            start_key: None,
            image: Some(image.to_owned()),
            command: None,
        }
    }

    fn seen(rows: Vec<Row>) -> Seen {
        Seen {
            version: (10, 0, 26_100),
            boot: BOOT,
            now: BOOT + 100 * SECOND,
            rows,
            processes: vec![process(700, r"C:\Windows\System32\svchost.exe")],
            services: ["Dnscache", "NlaSvc"].map(|name| Service { pid: 700, name: name.to_owned() }).to_vec(),
            ..Seen::default()
        }
    }

    fn holds(one_shot: &OneShot) -> Vec<&Acquired> {
        let hold = |event| match event {
            &Event { kind: EventKind::Acquired(ref acquired), .. } => Some(acquired),
            _ => None,
        };
        one_shot.events.iter().filter_map(hold).collect()
    }

    const CONNECTED: RowState = RowState::Held(SocketState::Connected);
    const LISTEN: RowState = RowState::Held(SocketState::Listen);
    const BOUND: RowState = RowState::Held(SocketState::Bound);

    #[test]
    fn a_hold_is_its_process_s_with_its_services() {
        let one_shot = one_shot(&seen(vec![
            row(Protocol::Udp, "0.0.0.0:50000", None, BOUND, 700),
            row(Protocol::Tcp, "10.0.0.5:50001", Some("10.0.0.1:443"), CONNECTED, 700),
        ]));
        let id = ProcessId { pid: 700, started_ticks: SECOND };
        let [tcp, udp] = holds(&one_shot)[..] else { panic!("{one_shot:?}") };
        assert_eq!((&tcp.owner, &udp.owner), (&OwnerId::Process(id), &OwnerId::Process(id)));
        assert!(tcp.pre_existing && udp.pre_existing);
        assert_eq!(
            (tcp.port, tcp.remote, tcp.state),
            (Some(50_001), "10.0.0.1:443".parse().ok(), SocketState::Connected)
        );
        assert_eq!((udp.pool, udp.state), (pool(Protocol::Udp), SocketState::Bound));
        let named = one_shot.events.iter().find_map(|event| match &event.kind {
            EventKind::Process { id: of, facts } if *of == id => Some(facts),
            _ => None,
        });
        let facts = named.unwrap();
        assert_eq!((&*facts.comm, facts.service.as_deref()), ("svchost.exe", Some("Dnscache, NlaSvc")));
        assert_eq!(one_shot.at_ns, 100_000_000_000);
        assert_eq!((&*one_shot.capture.kernel, one_shot.capture.ticks_per_s), ("10.0.26100", SECOND));
    }

    #[test]
    fn what_took_no_port_of_the_pool_is_no_hold() {
        let one_shot = one_shot(&seen(vec![
            row(Protocol::Tcp, "0.0.0.0:445", None, LISTEN, 4),
            row(Protocol::Udp, "0.0.0.0:5353", None, BOUND, 700),
            row(Protocol::Tcp, "0.0.0.0:50002", None, LISTEN, 700),
            row(Protocol::Tcp, "10.0.0.5:50002", Some("10.0.0.9:60000"), CONNECTED, 700),
        ]));
        let [listener] = holds(&one_shot)[..] else { panic!("{one_shot:?}") };
        assert_eq!(
            (listener.port, listener.state),
            (Some(50_002), SocketState::Listen),
            "accepted ones are not"
        );
    }

    #[test]
    fn the_kernel_s_and_nobody_s() {
        let one_shot = one_shot(&seen(vec![
            row(Protocol::Tcp, "10.0.0.5:50003", Some("10.0.0.1:445"), CONNECTED, 4),
            row(Protocol::Tcp, "10.0.0.5:50004", Some("10.0.0.1:443"), CONNECTED, 0),
            row(Protocol::Tcp, "10.0.0.5:50005", Some("10.0.0.1:443"), RowState::TimeWait, 0),
        ]));
        let owners: Vec<_> = holds(&one_shot).iter().map(|hold| (hold.port, &hold.owner)).collect();
        assert!(
            matches!(owners[..], [(Some(50_003), OwnerId::System { .. }), (Some(50_004), OwnerId::Unowned)]),
            "{owners:?}"
        );
        let is_wait = |event: &&Event| matches!(event.kind, EventKind::TimeWaitFound(_));
        assert_eq!(one_shot.events.iter().filter(is_wait).count(), 1);
    }

    #[test]
    fn the_pools_are_told_and_what_is_not_known_of_them() {
        let mut seen = seen(Vec::new());
        let range = PortRange { low: 10_000, high: 65_535, reserved: 9 };
        seen.ranges.pools.insert(pool(Protocol::Tcp), range);
        let limit = |feature: &str| Degradation {
            feature: feature.to_owned(),
            why: String::new(),
            remedy: String::new(),
        };
        seen.ranges.unknown.push(limit("b"));
        seen.degraded.push(limit("a"));
        let one_shot = one_shot(&seen);
        let expected = [(pool(Protocol::Tcp), range), (pool(Protocol::Udp), DEFAULT_RANGE)];
        assert_eq!(one_shot.capture.pools, expected.into());
        assert_eq!(one_shot.capture.degraded, [limit("a"), limit("b")]);
        assert_eq!(one_shot.events.len(), 2);
    }
}
