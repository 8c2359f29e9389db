//! The layouts of the manifest events that are used, version by version, and how they are read.
//!
//! A layout is the list of an event's fields in their order; its payload has them one after the
//! other without gaps. `tests/etl/manifests.rs` compares every list with Microsoft's manifests.

mod afd;
mod process;
mod tcpip;
mod values;

use super::decoded_event::{DecodedEvent, Unreadable};
use super::guid::{self, Guid};
use super::record::Record;
use values::Values;

/// How a field is written.
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
    /// As wide as a pointer of the machine.
    Pointer,
    /// A `SOCKADDR`, as long as the field of 32 bits before it says.
    Address,
    /// A security identifier.
    Sid,
    /// A text in UTF-16 that ends with zero.
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
    /// AFD gives the process id the width of a pointer.
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

/// How many fields there are.
const FIELDS: usize = Field::WeakReference as usize + 1;

impl Field {
    /// How it is written.
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

    /// What the manifests call it; they are not of one mind.
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
    /// The event.
    pub id: u16,
    /// The version.
    pub version: u8,
    /// Its fields, up to the last one that is of use.
    pub fields: &'static [Field],
}

/// The layouts of a provider, ordered by event and version; those of an event stand together.
#[must_use]
pub const fn layouts(provider: Guid) -> &'static [Layout] {
    match provider {
        guid::TCPIP => tcpip::LAYOUTS,
        guid::AFD => afd::LAYOUTS,
        guid::KERNEL_PROCESS => process::LAYOUTS,
        _ => &[],
    }
}

/// What a record of a provider with a manifest says; `None` when it has no use here.
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
