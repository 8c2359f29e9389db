//! Records of the ring buffer into events: pure functions over bytes.

use crate::event::{
    Acquired, EventKind, Failed, FailureCode, HoldId, NetNs, OwnerId, PoolId, PortRange, ProcessFacts,
    ProcessId, Protocol, SiteId, SocketState,
};
use portleak_ebpf::{
    CMDLINE_MAX, DESCENDANT, FRAMES_MAX, ForkRecord, Header, Hold, HoldRecord, OwnerKey, OwnerTotals,
    ProcessRecord, SiteRecord, address_bytes, errno, flag, kind, protocol, state,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU64;
use std::sync::Arc;

/// A record as it came, by its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// About a hold.
    Hold(HoldRecord),
    /// All in the header.
    Short(Header),
    /// An owner's name.
    Process(ProcessRecord),
    /// A birth or a death.
    Fork(ForkRecord),
    /// A call site.
    Site(SiteRecord),
}

impl Record {
    /// When it was written, `CLOCK_BOOTTIME` nanoseconds.
    #[must_use]
    pub fn at_ns(&self) -> u64 {
        match self {
            Self::Hold(record) => record.header.at_ns,
            Self::Short(header) => header.at_ns,
            Self::Process(record) => record.header.at_ns,
            Self::Fork(record) => record.header.at_ns,
            Self::Site(record) => record.header.at_ns,
        }
    }
}

/// A record that cannot be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Not even a header.
    #[error("a record of {0} bytes has no room for a header")]
    Short(usize),
    /// A kind that this version does not know.
    #[error("unknown record kind {0}")]
    Kind(u8),
    /// The wrong length for its kind.
    #[error("a record of kind {kind} has {found} bytes, not {expected}")]
    Length {
        /// The kind.
        kind: u8,
        /// Bytes found.
        found: usize,
        /// Bytes that the kind has.
        expected: usize,
    },
    /// A protocol, state or error number that no probe writes.
    #[error("a record of kind {kind} carries the unknown number {value}")]
    Value {
        /// The kind.
        kind: u8,
        /// The number.
        value: u8,
    },
}

/// Reads one record.
///
/// # Errors
/// When the bytes are no record of this version.
pub fn decode(bytes: &[u8]) -> Result<Record, WireError> {
    let kind = bytes.get(..size_of::<Header>()).ok_or(WireError::Short(bytes.len()))?[16];
    Ok(match kind {
        kind::ACQUIRED | kind::UPDATED | kind::FAILED => Record::Hold(exactly(kind, bytes)?),
        kind::STATE
        | kind::RELEASED
        | kind::LEARNT
        | kind::TIME_WAIT_BEGAN
        | kind::TIME_WAIT_ENDED
        | kind::ENDED_UNTRACKED
        | kind::POOL_LOW => Record::Short(exactly(kind, bytes)?),
        kind::PROCESS => Record::Process(exactly(kind, bytes)?),
        kind::SITE => Record::Site(exactly(kind, bytes)?),
        kind::FORKED | kind::EXITED => Record::Fork(exactly(kind, bytes)?),
        unknown => return Err(WireError::Kind(unknown)),
    })
}

fn exactly<T: aya::Pod>(kind: u8, bytes: &[u8]) -> Result<T, WireError> {
    if bytes.len() != size_of::<T>() {
        return Err(WireError::Length { kind, found: bytes.len(), expected: size_of::<T>() });
    }
    // SAFETY: as many bytes as T has, and T is Pod: every byte pattern is a value of it.
    Ok(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

/// What a record means by itself: the port that it shows for the first time, if any, and what
/// happened, if that concerns the engine.
///
/// # Errors
/// When it carries a number that no probe writes.
pub fn events(record: &Record) -> Result<(Option<EventKind>, Option<EventKind>), WireError> {
    Ok(match record {
        Record::Hold(record) => (None, Some(hold_event(record, 0)?)),
        Record::Short(header) => short_events(header)?,
        Record::Process(record) => {
            (None, Some(EventKind::Process { id: process(&record.owner), facts: facts(record) }))
        }
        Record::Fork(record) => (None, Some(fork_event(record))),
        Record::Site(_) => (None, None), // Needs more than the record.
    })
}

/// What a record about a hold means.
///
/// # Errors
/// When it carries a number that no probe writes.
pub fn hold_event(record: &HoldRecord, reserved: u32) -> Result<EventKind, WireError> {
    let hold = HoldId(record.header.cookie);
    match record.header.kind {
        kind::ACQUIRED => Ok(EventKind::Acquired(acquired(hold, &record.hold, reserved)?)),
        kind::UPDATED => Ok(EventKind::State {
            hold,
            state: socket_state(record.header.kind, record.hold.state)?,
            remote: remote(&record.hold),
        }),
        _ => Ok(EventKind::Failed(failed(record)?)),
    }
}

/// A hold as the ledger has it.
///
/// # Errors
/// When it carries a number that no probe writes.
pub fn acquired(id: HoldId, hold: &Hold, reserved: u32) -> Result<Acquired, WireError> {
    Ok(Acquired {
        hold: id,
        owner: owner(&hold.owner),
        pool: pool(hold)?,
        range: Some(PortRange { low: hold.range_low, high: hold.range_high, reserved }),
        pre_existing: hold.flags & flag::PRE_EXISTING != 0,
        local: address(hold.family, hold.local),
        port: (hold.port != 0).then_some(hold.port),
        remote: remote(hold),
        state: socket_state(kind::ACQUIRED, hold.state)?,
        site: NonZeroU64::new(hold.site).map(SiteId),
    })
}

fn failed(record: &HoldRecord) -> Result<Failed, WireError> {
    let hold = &record.hold;
    let code = match record.header.code {
        errno::EAGAIN => FailureCode::EAGAIN,
        errno::EADDRINUSE => FailureCode::EADDRINUSE,
        errno::EADDRNOTAVAIL => FailureCode::EADDRNOTAVAIL,
        value => return Err(WireError::Value { kind: kind::FAILED, value }),
    };
    Ok(Failed {
        owner: owner(&hold.owner),
        pool: pool(hold)?,
        code,
        local: Some(address(hold.family, hold.local)).filter(|local| !local.is_unspecified()),
        remote: remote(hold),
        retracts: (hold.flags & flag::UNCONFIRMED != 0).then_some(HoldId(record.header.cookie)),
    })
}

/// What a record that is all header means: nothing for one that concerns the source only, two
/// things for a change of state that shows the port for the first time.
///
/// # Errors
/// When it carries a number that no probe writes.
pub fn short_events(header: &Header) -> Result<(Option<EventKind>, Option<EventKind>), WireError> {
    let hold = HoldId(header.cookie);
    let learnt = (header.port != 0).then_some(EventKind::PortLearnt { hold, port: header.port });
    let event = match header.kind {
        kind::STATE => {
            Some(EventKind::State { hold, state: socket_state(header.kind, header.code)?, remote: None })
        }
        kind::RELEASED => Some(EventKind::Released { hold }),
        kind::TIME_WAIT_BEGAN => Some(EventKind::TimeWaitBegan { hold }),
        kind::TIME_WAIT_ENDED => Some(EventKind::TimeWaitEnded { hold }),
        _ => None,
    };
    Ok((learnt, event))
}

/// What a birth or death means.
#[must_use]
pub fn fork_event(record: &ForkRecord) -> EventKind {
    match record.header.kind {
        kind::EXITED => EventKind::Exited { id: process(&record.child) },
        _ => EventKind::Forked { parent: process(&record.parent), child: process(&record.child) },
    }
}

/// The process that a record shows to belong to the tree of `run`'s command, by the probes' mark.
#[must_use]
pub fn descendant(record: &Record) -> Option<OwnerKey> {
    let (is_marked, key) = match record {
        Record::Hold(record) => (record.hold.flags & flag::DESCENDANT != 0, record.hold.owner),
        Record::Process(record) => (record.header.code == DESCENDANT, record.owner),
        Record::Fork(record) => (record.header.code == DESCENDANT, record.child),
        Record::Short(_) | Record::Site(_) => return None,
    };
    is_marked.then_some(key)
}

/// What a process is called; the executable's path is not in the record.
#[must_use]
pub fn facts(record: &ProcessRecord) -> ProcessFacts {
    let bytes = usize::try_from(record.cmdline_bytes).unwrap_or(CMDLINE_MAX).min(CMDLINE_MAX);
    ProcessFacts {
        comm: text(until_nul(&address_bytes(record.comm))),
        cmdline: Some(arguments(&record.cmdline[..bytes])).filter(|line| !line.is_empty()),
        uid: Some(record.uid),
        ppid: Some(record.ppid),
        netns: Some(NetNs(record.netns)),
        ..ProcessFacts::default()
    }
}

/// What the ledger knows of a process; `None` if it has no name of it.
#[must_use]
pub fn kept_facts(totals: &OwnerTotals) -> Option<ProcessFacts> {
    let comm = text(until_nul(&address_bytes(totals.comm)));
    let known = ProcessFacts {
        uid: Some(totals.uid),
        ppid: Some(totals.ppid),
        netns: netns(totals),
        ..<_>::default()
    };
    (!comm.is_empty()).then_some(ProcessFacts { comm, ..known })
}

/// The namespace of all ports that an owner has had, if there is but one.
#[must_use]
pub fn netns(totals: &OwnerTotals) -> Option<NetNs> {
    (totals.netns != 0 && totals.several_netns == 0).then_some(NetNs(totals.netns))
}

/// The return addresses of a site, innermost first.
#[must_use]
pub fn addresses(record: &SiteRecord) -> &[u64] {
    let count = usize::try_from(record.count).unwrap_or(FRAMES_MAX).min(FRAMES_MAX);
    &record.frames[..count]
}

/// An owner by its key.
#[must_use]
pub fn owner(key: &OwnerKey) -> OwnerId {
    match (key.pid, key.system_netns) {
        (0, 0) => OwnerId::Unowned,
        (0, netns) => OwnerId::System { module: None, netns: NetNs(netns) },
        _ => OwnerId::Process(process(key)),
    }
}

/// The key of a process.
#[must_use]
pub fn owner_key(process: ProcessId) -> OwnerKey {
    OwnerKey { started_ticks: process.started_ticks, pid: process.pid, system_netns: 0 }
}

/// A process by its key.
#[must_use]
pub fn process(key: &OwnerKey) -> ProcessId {
    ProcessId { pid: key.pid, started_ticks: key.started_ticks }
}

fn pool(hold: &Hold) -> Result<PoolId, WireError> {
    let protocol = match hold.protocol {
        protocol::TCP => Protocol::Tcp,
        protocol::UDP => Protocol::Udp,
        value => return Err(WireError::Value { kind: kind::ACQUIRED, value }),
    };
    Ok(PoolId { netns: NetNs(hold.netns), protocol })
}

fn socket_state(kind: u8, value: u8) -> Result<SocketState, WireError> {
    Ok(match value {
        state::CONNECTED => SocketState::Connected,
        state::SYN_SENT => SocketState::SynSent,
        state::CLOSING => SocketState::Closing,
        state::BOUND => SocketState::Bound,
        state::CLOSE_WAIT => SocketState::CloseWait,
        state::LISTEN => SocketState::Listen,
        value => return Err(WireError::Value { kind, value }),
    })
}

fn address(family: u8, words: [u64; 2]) -> IpAddr {
    let b = address_bytes(words);
    if family == 4 {
        IpAddr::V4(Ipv4Addr::new(b[0], b[1], b[2], b[3]))
    } else {
        IpAddr::V6(Ipv6Addr::from(b)).to_canonical()
    }
}

/// Where a hold goes.
pub(crate) fn remote(hold: &Hold) -> Option<SocketAddr> {
    (hold.remote_port != 0).then(|| SocketAddr::new(address(hold.family, hold.remote), hold.remote_port))
}

/// Where a hold is; the address is unspecified if it was bound to none.
pub(crate) fn local(hold: &Hold) -> SocketAddr {
    SocketAddr::new(address(hold.family, hold.local), hold.port)
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn text(bytes: &[u8]) -> Arc<str> {
    String::from_utf8_lossy(bytes).into()
}

/// Arguments end with NUL; the last may be cut.
fn arguments(bytes: &[u8]) -> Arc<str> {
    let line: Vec<_> = bytes.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
    line.join(" ").trim_end().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use portleak_ebpf::address_words;
    use proptest::prelude::*;

    fn bytes<T: aya::Pod>(record: &T) -> Vec<u8> {
        // SAFETY: a Pod is nothing but its bytes.
        unsafe { std::slice::from_raw_parts(std::ptr::from_ref(record).cast::<u8>(), size_of::<T>()) }
            .to_vec()
    }

    fn short(kind: u8) -> Header {
        Header { at_ns: 7, cookie: 42, kind, ..Header::default() }
    }

    fn hold() -> Hold {
        let mut local = [0; 16];
        local[..4].copy_from_slice(&[127, 0, 0, 1]);
        Hold {
            acquired_ns: 7,
            owner: OwnerKey { started_ticks: 100, pid: 4711, system_netns: 0 },
            local: address_words(local),
            remote: address_words(Ipv6Addr::from([0, 0, 0, 0, 0, 0xffff, 0x7f00, 2]).octets()),
            site: 9,
            netns: 5,
            port: 40_000,
            remote_port: 443,
            range_low: 32_768,
            range_high: 60_999,
            protocol: 6,
            family: 4,
            flags: 0,
            state: state::SYN_SENT,
        }
    }

    fn hold_record(kind: u8, change: impl FnOnce(&mut HoldRecord)) -> HoldRecord {
        let mut record = HoldRecord { header: short(kind), hold: hold() };
        change(&mut record);
        record
    }

    #[test]
    fn the_mark_of_a_descendant_is_read_from_every_record_that_has_one() {
        let marked = hold_record(kind::ACQUIRED, |record| record.hold.flags |= flag::DESCENDANT);
        assert_eq!(descendant(&Record::Hold(marked)), Some(hold().owner));
        let child = OwnerKey { started_ticks: 2, pid: 5, system_netns: 0 };
        let fork = |code| {
            let header = Header { code, ..short(kind::FORKED) };
            Record::Fork(ForkRecord { header, child, ..ForkRecord::default() })
        };
        assert_eq!(descendant(&fork(DESCENDANT)), Some(child));
        assert_eq!(descendant(&fork(0)), None);
        assert_eq!(descendant(&Record::Hold(hold_record(kind::ACQUIRED, |_| {}))), None);
        assert_eq!(descendant(&Record::Short(Header { code: state::CONNECTED, ..short(kind::STATE) })), None);
    }

    #[test]
    fn the_ledger_names_an_owner_by_what_the_probes_kept() {
        let mut comm = [0; 16];
        comm[..4].copy_from_slice(b"curl");
        let comm = address_words(comm);
        let kept = OwnerTotals { netns: 5, ppid: 6, comm, uid: 7, ..OwnerTotals::default() };
        let known = ProcessFacts { uid: Some(7), ppid: Some(6), netns: Some(NetNs(5)), ..<_>::default() };
        assert_eq!(kept_facts(&kept), Some(ProcessFacts { comm: "curl".into(), ..known.clone() }));
        let several = OwnerTotals { several_netns: 1, ..kept };
        assert_eq!(kept_facts(&several), Some(ProcessFacts { comm: "curl".into(), netns: None, ..known }));
        // One that user space entered.
        assert_eq!(kept_facts(&OwnerTotals { comm: [0; 2], ..kept }), None);
        assert_eq!(netns(&OwnerTotals::default()), None);
    }

    #[test]
    fn every_kind_is_read_at_its_length_and_no_other() {
        let process = ProcessRecord {
            header: short(kind::PROCESS),
            owner: OwnerKey::default(),
            ppid: 0,
            uid: 0,
            netns: 0,
            cmdline_bytes: 0,
            comm: [0; 2],
            cmdline: [0; CMDLINE_MAX],
        };
        let site = SiteRecord {
            header: short(kind::SITE),
            owner: OwnerKey::default(),
            count: 1,
            reserved: 0,
            frames: [0; FRAMES_MAX],
        };
        let fork = ForkRecord { header: short(kind::FORKED), ..ForkRecord::default() };
        let samples = [
            bytes(&hold_record(kind::ACQUIRED, |_| {})),
            bytes(&short(kind::RELEASED)),
            bytes(&process),
            bytes(&fork),
            bytes(&site),
        ];
        for sample in samples {
            assert!(decode(&sample).is_ok());
            let short = decode(&sample[..sample.len() - 1]).unwrap_err();
            assert!(matches!(short, WireError::Length { .. } | WireError::Short(23)), "{short}");
            let long = [sample.clone(), vec![0]].concat();
            let expected = WireError::Length { kind: sample[16], found: long.len(), expected: sample.len() };
            assert_eq!(decode(&long), Err(expected));
        }
        assert_eq!(decode(&[]), Err(WireError::Short(0)));
        assert_eq!(decode(&bytes(&short(200))), Err(WireError::Kind(200)));
    }

    #[test]
    fn an_acquisition_is_told_with_its_addresses() {
        let record = hold_record(kind::ACQUIRED, |_| {});
        let Ok(EventKind::Acquired(acquired)) = hold_event(&record, 3) else { panic!("not acquired") };
        assert_eq!(acquired.hold, HoldId(42));
        assert_eq!(acquired.owner, OwnerId::Process(ProcessId { pid: 4711, started_ticks: 100 }));
        assert_eq!(acquired.pool, PoolId { netns: NetNs(5), protocol: Protocol::Tcp });
        assert_eq!(acquired.range, Some(PortRange { low: 32_768, high: 60_999, reserved: 3 }));
        assert_eq!((acquired.local.to_string().as_str(), acquired.port), ("127.0.0.1", Some(40_000)));
        assert_eq!((acquired.state, acquired.pre_existing), (SocketState::SynSent, false));
        assert_eq!(acquired.site, NonZeroU64::new(9).map(SiteId));
    }

    #[test]
    fn ipv4_inside_ipv6_is_ipv4() {
        let record = hold_record(kind::UPDATED, |record| record.hold.family = 6);
        let Ok(EventKind::State { remote, .. }) = hold_event(&record, 0) else { panic!("no state") };
        assert_eq!(remote, Some("127.0.0.2:443".parse().unwrap()));
    }

    #[test]
    fn what_is_not_known_is_not_told() {
        let record = hold_record(kind::ACQUIRED, |record| {
            (record.hold.port, record.hold.remote_port, record.hold.site) = (0, 0, 0);
            record.hold.flags = flag::PRE_EXISTING;
        });
        let Ok(EventKind::Acquired(acquired)) = hold_event(&record, 0) else { panic!("not acquired") };
        assert!(acquired.pre_existing);
        assert_eq!((acquired.port, acquired.remote, acquired.site), (None, None, None));
    }

    #[test]
    fn owners_are_told_apart() {
        let key = |pid, system_netns| OwnerKey { started_ticks: 0, pid, system_netns };
        assert_eq!(owner(&key(0, 0)), OwnerId::Unowned);
        assert_eq!(owner(&key(0, 9)), OwnerId::System { module: None, netns: NetNs(9) });
        assert!(matches!(owner(&key(1, 0)), OwnerId::Process(_)));
    }

    #[test]
    fn a_failure_names_its_error_and_takes_back_what_was_announced() {
        let failed = |errno, flags| {
            let record = hold_record(kind::FAILED, |record| {
                record.header.code = errno;
                record.hold.flags = flags;
            });
            hold_event(&record, 0)
        };
        let Ok(EventKind::Failed(told)) = failed(99, flag::UNCONFIRMED) else { panic!("not failed") };
        assert_eq!((told.code, told.retracts), (FailureCode::EADDRNOTAVAIL, Some(HoldId(42))));
        let Ok(EventKind::Failed(told)) = failed(11, 0) else { panic!("not failed") };
        assert_eq!((told.code, told.retracts), (FailureCode::EAGAIN, None));
        assert_eq!(failed(5, 0), Err(WireError::Value { kind: kind::FAILED, value: 5 }));
    }

    #[test]
    fn numbers_that_no_probe_writes_are_refused() {
        let acquired =
            |change: fn(&mut Hold)| hold_event(&hold_record(kind::ACQUIRED, |r| change(&mut r.hold)), 0);
        assert_eq!(
            acquired(|hold| hold.protocol = 1),
            Err(WireError::Value { kind: kind::ACQUIRED, value: 1 })
        );
        assert_eq!(
            acquired(|hold| hold.state = 99),
            Err(WireError::Value { kind: kind::ACQUIRED, value: 99 })
        );
        let state = Header { code: 99, ..short(kind::STATE) };
        assert_eq!(short_events(&state).err(), Some(WireError::Value { kind: kind::STATE, value: 99 }));
    }

    #[test]
    fn a_change_of_state_may_bring_the_port() {
        let told = |port| {
            let header = Header { code: state::CONNECTED, port, ..short(kind::STATE) };
            short_events(&header).unwrap()
        };
        assert!(matches!(told(0), (None, Some(EventKind::State { .. }))));
        assert_eq!(told(40_000).0, Some(EventKind::PortLearnt { hold: HoldId(42), port: 40_000 }));
        assert_eq!(short_events(&short(kind::ENDED_UNTRACKED)), Ok((None, None)));
    }

    #[test]
    fn a_command_line_is_words_and_a_name_ends_at_nul() {
        let mut record = ProcessRecord {
            header: short(kind::PROCESS),
            owner: OwnerKey::default(),
            ppid: 1,
            uid: 1_000,
            netns: 5,
            cmdline_bytes: 14,
            comm: address_words(*b"python3\0garbage\0"),
            cmdline: [0; CMDLINE_MAX],
        };
        record.cmdline[..17].copy_from_slice(b"python3\0leak.py\0x");
        let told = facts(&record);
        assert_eq!((&*told.comm, told.cmdline.as_deref()), ("python3", Some("python3 leak.p")));
        assert_eq!((told.ppid, told.uid, told.netns), (Some(1), Some(1_000), Some(NetNs(5))));
        record.cmdline_bytes = 0;
        assert_eq!(facts(&record).cmdline, None);
        record.cmdline_bytes = u32::MAX;
        assert!(facts(&record).cmdline.unwrap().starts_with("python3 leak.py x"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            if let Ok(record) = decode(&bytes) {
                _ = events(&record);
                if let Record::Site(record) = record {
                    _ = addresses(&record);
                }
            }
        }

        #[test]
        fn any_record_of_a_known_length_is_taken(mut bytes in prop::collection::vec(any::<u8>(), 328), kind in 0u8..16) {
            bytes[16] = kind;
            for length in [24, 56, 104, 304, 328] {
                _ = decode(&bytes[..length]);
            }
        }
    }
}
