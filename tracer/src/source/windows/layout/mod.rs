//! The layouts of the used manifest events, version by version, and their decoder.
//!
//! A layout lists an event's fields in order; the payload contains them without gaps.
//! `tests/etl/manifests.rs` compares every layout with Microsoft's manifests.

mod afd;
mod process;
mod tcpip;
mod values;

use super::decoded_event::{DecodedEvent, Unreadable};
use super::guid::{self, Guid};
use super::record::Record;
use values::Values;

/// The type of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A number of 16 bits.
    U16,
    /// A number of 32 bits.
    U32,
    /// A number of 64 bits.
    U64,
    /// A number of 64 bits: 100 ns since 1601.
    Time,
    /// As wide as a pointer of the traced machine.
    Pointer,
    /// A `SOCKADDR`; the 32-bit field before it has its length.
    Address,
    /// A security identifier.
    Sid,
    /// UTF-16 text that ends with zero.
    Text,
}

/// A field of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[expect(missing_docs, reason = "they are Windows' names")]
pub enum Field {
    AddressFamily,
    Compartment,
    CreateTime,
    Endpoint,
    EnterExit,
    Flags,
    Image,
    /// The length of the address that follows.
    Length,
    Local,
    Location,
    NumberOfPorts,
    OriginalAcquirer,
    OldState,
    ParentProcessId,
    ParentStartKey,
    PortAcquirer,
    PortNumber,
    Process,
    ProcessId,
    /// AFD writes the process id in the width of a pointer.
    ProcessIdWide,
    Protocol,
    Reason,
    Remote,
    ReservationType,
    RexmitCount,
    Buffer,
    SessionId,
    Sid,
    SndNxt,
    SocketType,
    StartKey,
    StartPort,
    State,
    Status,
    Tcb,
    Elevated,
    Elevation,
    Transport,
    WeakReference,
}

/// The number of fields.
const FIELDS: usize = Field::WeakReference as usize + 1;

impl Field {
    /// The type of the field.
    #[must_use]
    pub fn kind(self) -> Kind {
        match self {
            Self::PortNumber | Self::StartPort | Self::NumberOfPorts => Kind::U16,
            Self::StartKey | Self::ParentStartKey => Kind::U64,
            Self::CreateTime => Kind::Time,
            Self::Buffer
            | Self::Endpoint
            | Self::OriginalAcquirer
            | Self::PortAcquirer
            | Self::Process
            | Self::ProcessIdWide
            | Self::Tcb => Kind::Pointer,
            Self::Local | Self::Remote => Kind::Address,
            Self::Sid => Kind::Sid,
            Self::Image => Kind::Text,
            _ => Kind::U32,
        }
    }

    /// Its names in the manifests, which differ between events.
    #[must_use]
    pub fn names(self) -> &'static [&'static str] {
        match self {
            Self::AddressFamily => &["AddressFamily"],
            Self::Buffer => &["Buffer"],
            Self::Compartment => &["CompartmentId", "Compartment"],
            Self::CreateTime => &["CreateTime"],
            Self::Elevated => &["ProcessTokenIsElevated"],
            Self::Elevation => &["ProcessTokenElevationType"],
            Self::Endpoint => &["Endpoint"],
            Self::EnterExit => &["EnterExit"],
            Self::Flags => &["Flags"],
            Self::Image => &["ImageName"],
            Self::Length => &["LocalAddressLength", "RemoteAddressLength", "AddressLen", "BufferLength"],
            Self::Local => &["LocalAddress"],
            Self::Location => &["Location"],
            Self::NumberOfPorts => &["NumberOfPorts"],
            Self::OldState => &["OldState"],
            Self::OriginalAcquirer => &["OriginalAcquirer"],
            Self::ParentProcessId => &["ParentProcessID"],
            Self::ParentStartKey => &["ParentProcessSequenceNumber"],
            Self::PortAcquirer => &["PortAcquirer"],
            Self::PortNumber => &["PortNumber"],
            Self::Process => &["Process"],
            Self::ProcessId => &["ProcessId", "Pid", "ProcessID"],
            Self::ProcessIdWide => &["ProcessId"],
            Self::Protocol => &["Protocol"],
            Self::Reason => &["Reason"],
            Self::Remote => &["RemoteAddress", "Address"],
            Self::ReservationType => &["ReservationType"],
            Self::RexmitCount => &["RexmitCount"],
            Self::SessionId => &["SessionID"],
            Self::Sid => &["MandatoryLabel"],
            Self::SndNxt => &["SndNxt"],
            Self::SocketType => &["SocketType"],
            Self::StartKey => &["ProcessStartKey", "ProcessSequenceNumber"],
            Self::StartPort => &["StartPort"],
            Self::State => &["NewState", "State"],
            Self::Status => &["Status"],
            Self::Tcb => &["Tcb"],
            Self::Transport => &["IPTransportProtocol"],
            Self::WeakReference => &["WeakReference"],
        }
    }
}

/// The layout of one version of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The event id.
    pub id: u16,
    /// The version.
    pub version: u8,
    /// Its fields, up to the last used one.
    pub fields: &'static [Field],
}

/// The layouts of a provider, ordered by event and version. Those of one event are adjacent.
#[must_use]
pub const fn layouts(provider: Guid) -> &'static [Layout] {
    match provider {
        guid::TCPIP => tcpip::LAYOUTS,
        guid::AFD => afd::LAYOUTS,
        guid::KERNEL_PROCESS => process::LAYOUTS,
        _ => &[],
    }
}

/// Decodes a record of a provider with a manifest; `None` when the event is not used.
pub(super) fn decode(record: &Record<'_>) -> Option<Result<DecodedEvent, Unreadable>> {
    let layouts = layouts(record.provider);
    let first = layouts.partition_point(|layout| layout.id < record.id);
    let mut versions = layouts.get(first..)?.iter().take_while(|layout| layout.id == record.id).peekable();
    versions.peek()?;
    let Some(layout) = versions.find(|layout| layout.version == record.version) else {
        return Some(Err(Unreadable::Layout));
    };
    let values = Values::read(layout.fields, record);
    Some(values.map(|values| match record.provider {
        guid::TCPIP => tcpip::event(record.id, &values),
        guid::AFD => afd::event(record.id, &values),
        _ => process::event(record.id, values),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_in_order() {
        for provider in [guid::TCPIP, guid::AFD, guid::KERNEL_PROCESS] {
            let keys: Vec<_> = layouts(provider).iter().map(|layout| (layout.id, layout.version)).collect();
            assert!(keys.is_sorted_by(|a, b| a < b), "{keys:?}");
        }
    }

    #[test]
    fn every_event_that_is_asked_for_is_known() {
        let mut ids: Vec<_> = layouts(guid::TCPIP).iter().map(|layout| layout.id).collect();
        ids.dedup();
        assert_eq!(ids.len(), 24);
        let mut ids: Vec<_> = layouts(guid::AFD).iter().map(|layout| layout.id).collect();
        ids.dedup();
        assert_eq!(ids.len(), 7);
    }
}
