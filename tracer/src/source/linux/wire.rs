//! Records of the ring buffer into events: pure functions over bytes.

use crate::event::{
    Acquired, EventKind, Failed, FailureCode, HoldId, NetNs, OwnerId, PoolId, PortRange, ProcessFacts,
    ProcessId, Protocol, SocketState,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use tracer_ebpf::{
    CMDLINE_MAX, ForkRecord, Header, Hold, HoldRecord, OwnerKey, ProcessRecord, address_bytes, flag, kind,
    state,
};

/// A record as it came, by its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "decoded and consumed one at a time, never stored")]
pub enum Record {
    /// About a hold.
    Hold(HoldRecord),
    /// All in the header.
    Short(Header),
    /// An owner's name.
    Process(ProcessRecord),
    /// A birth or a death.
    Fork(ForkRecord),
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
        | kind::BURIED => Record::Short(exactly(kind, bytes)?),
        kind::PROCESS => Record::Process(exactly(kind, bytes)?),
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
    })
}

fn failed(record: &HoldRecord) -> Result<Failed, WireError> {
    let hold = &record.hold;
    let code = match record.header.code {
        11 => FailureCode::EAGAIN,
        98 => FailureCode::EADDRINUSE,
        99 => FailureCode::EADDRNOTAVAIL,
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

/// What a record that is all header means: nothing for one that concerns the snapshot only, two
/// things for a change of state that shows the port for the first time.
///
/// # Errors
/// When it carries a number that no probe writes.
pub fn short_events(header: &Header) -> Result<impl Iterator<Item = EventKind> + use<>, WireError> {
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
    Ok(learnt.into_iter().chain(event))
}

/// What a birth or death means.
#[must_use]
pub fn fork_event(record: &ForkRecord) -> EventKind {
    match record.header.kind {
        kind::EXITED => EventKind::Exited { id: process(&record.child) },
        _ => EventKind::Forked { parent: process(&record.parent), child: process(&record.child) },
    }
}

/// What a process is called; the executable's path is not in the record.
#[must_use]
pub fn facts(record: &ProcessRecord) -> ProcessFacts {
    let bytes = usize::try_from(record.cmdline_bytes).unwrap_or(CMDLINE_MAX).min(CMDLINE_MAX);
    ProcessFacts {
        comm: text(until_nul(&address_bytes(record.comm))),
        exe: None,
        cmdline: Some(arguments(&record.cmdline[..bytes])).filter(|line| !line.is_empty()),
        uid: Some(record.uid),
        ppid: Some(record.ppid),
        netns: Some(NetNs(record.netns)),
    }
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

/// A process by its key.
#[must_use]
pub fn process(key: &OwnerKey) -> ProcessId {
    ProcessId { pid: key.pid, started_ticks: key.started_ticks }
}

fn pool(hold: &Hold) -> Result<PoolId, WireError> {
    let protocol = match hold.protocol {
        6 => Protocol::Tcp,
        17 => Protocol::Udp,
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

fn remote(hold: &Hold) -> Option<SocketAddr> {
    (hold.remote_port != 0).then(|| SocketAddr::new(address(hold.family, hold.remote), hold.remote_port))
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
