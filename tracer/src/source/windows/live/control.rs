//! The session controls that ferrisetw lacks: losses, flush, stacks of selected events, and the state before
//! the session.
//!
//! An error is a number of winerror.h.

use super::providers::{IDS_MAX, LEVEL, Provider};
use crate::source::windows::guid::Guid;
use std::mem::{offset_of, size_of};
use std::ptr::{from_mut, from_ref, null};
use windows_sys::Win32::System::Diagnostics::Etw::{
    CONTROLTRACE_HANDLE, ControlTraceW, ENABLE_TRACE_PARAMETERS, ENABLE_TRACE_PARAMETERS_VERSION_2,
    EVENT_CONTROL_CODE_CAPTURE_STATE, EVENT_CONTROL_CODE_ENABLE_PROVIDER,
    EVENT_ENABLE_PROPERTY_PROCESS_START_KEY, EVENT_ENABLE_PROPERTY_STACK_TRACE, EVENT_FILTER_DESCRIPTOR,
    EVENT_FILTER_TYPE_EVENT_ID, EVENT_FILTER_TYPE_STACKWALK, EVENT_TRACE_CONTROL, EVENT_TRACE_CONTROL_FLUSH,
    EVENT_TRACE_CONTROL_QUERY, EVENT_TRACE_CONTROL_STOP, EVENT_TRACE_PROPERTIES, EnableTraceEx2,
    WNODE_FLAG_TRACED_GUID,
};
use windows_sys::core::GUID;

/// The longest name, with its terminating zero (`EVENT_TRACE_PROPERTIES`, evntrace.h).
const NAME_MAX: usize = 1_024;

// The offsets of the counters in 64-bit Windows.
const _: () = assert!(offset_of!(EVENT_TRACE_PROPERTIES, EventsLost) == 88);
const _: () = assert!(offset_of!(EVENT_TRACE_PROPERTIES, RealTimeBuffersLost) == 100);

/// The status of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Status {
    /// The handle by which it is controlled.
    handle: u64,
    /// Events that found no buffer.
    pub(super) events_lost: u32,
    /// Buffers that were not delivered to the reader.
    pub(super) delivery_lost: u32,
    /// Buffers that were not written to the file.
    pub(super) file_lost: u32,
}

impl Status {
    /// Lost events and buffers. A buffer has an unknown number of events, and counts as one.
    pub(super) fn lost(&self) -> u64 {
        [self.events_lost, self.delivery_lost, self.file_lost].map(u64::from).iter().sum()
    }
}

/// A session's properties, with room for the names that Windows writes after them.
#[repr(C)]
struct Properties {
    of: EVENT_TRACE_PROPERTIES,
    session: [u16; NAME_MAX],
    file: [u16; NAME_MAX],
}

/// Queries the session's status.
pub(super) fn query(name: &str) -> Result<Status, u32> {
    control(name, EVENT_TRACE_CONTROL_QUERY)
}

/// Makes the session deliver buffers that are not full.
pub(super) fn flush(name: &str) -> Result<Status, u32> {
    control(name, EVENT_TRACE_CONTROL_FLUSH)
}

/// Ends the session, and returns its last status.
pub(super) fn stop(name: &str) -> Result<Status, u32> {
    control(name, EVENT_TRACE_CONTROL_STOP)
}

fn control(name: &str, code: EVENT_TRACE_CONTROL) -> Result<Status, u32> {
    let name: Vec<u16> = name.encode_utf16().chain([0]).collect();
    let mut properties =
        Properties { of: EVENT_TRACE_PROPERTIES::default(), session: [0; NAME_MAX], file: [0; NAME_MAX] };
    properties.of.Wnode.BufferSize = size32(size_of::<Properties>());
    properties.of.Wnode.Flags = WNODE_FLAG_TRACED_GUID;
    properties.of.LoggerNameOffset = size32(offset_of!(Properties, session));
    properties.of.LogFileNameOffset = size32(offset_of!(Properties, file));
    let none = CONTROLTRACE_HANDLE { Value: 0 };
    // SAFETY: the name ends with zero and outlives the call. The properties state their own size and the
    // offsets where Windows may write names, and nothing else refers to them.
    let error = unsafe { ControlTraceW(none, name.as_ptr(), from_mut(&mut properties).cast(), code) };
    if error != 0 {
        return Err(error);
    }
    let EVENT_TRACE_PROPERTIES { EventsLost, RealTimeBuffersLost, LogBuffersLost, Wnode, .. } = properties.of;
    Ok(Status {
        // SAFETY: all arms of the union are integers, valid for every bit pattern.
        handle: unsafe { Wnode.Anonymous1.HistoricalContext },
        events_lost: EventsLost,
        delivery_lost: RealTimeBuffersLost,
        file_lost: LogBuffersLost,
    })
}

/// The event ids of a filter: `EVENT_FILTER_EVENT_ID` (evntprov.h).
#[repr(C)]
struct Ids {
    /// Whether these events, and no others, pass.
    only: u8,
    reserved: u8,
    count: u16,
    ids: [u16; IDS_MAX],
}

impl Ids {
    fn new(ids: &[u16]) -> Self {
        let mut list = [0; IDS_MAX];
        let count = ids.len().min(IDS_MAX);
        list.iter_mut().zip(ids).for_each(|(place, id)| *place = *id);
        Self { only: 1, reserved: 0, count: u16::try_from(count).unwrap_or_default(), ids: list }
    }

    fn descriptor(&self, kind: u32) -> EVENT_FILTER_DESCRIPTOR {
        let size = offset_of!(Self, ids) + usize::from(self.count) * size_of::<u16>();
        EVENT_FILTER_DESCRIPTOR { Ptr: from_ref(self).addr() as u64, Size: size32(size), Type: kind }
    }
}

impl Status {
    /// Enables a provider again: the same events, some of them with a stack.
    pub(super) fn enable_stacks(&self, provider: &Provider, stacks: &[u16]) -> Result<(), u32> {
        let (all, stacks) = (Ids::new(&provider.ids()), Ids::new(stacks));
        let mut filters =
            [all.descriptor(EVENT_FILTER_TYPE_EVENT_ID), stacks.descriptor(EVENT_FILTER_TYPE_STACKWALK)];
        let guid = windows_guid(provider.guid);
        let parameters = ENABLE_TRACE_PARAMETERS {
            Version: ENABLE_TRACE_PARAMETERS_VERSION_2,
            EnableProperty: EVENT_ENABLE_PROPERTY_STACK_TRACE | EVENT_ENABLE_PROPERTY_PROCESS_START_KEY,
            ControlFlags: 0,
            SourceId: guid,
            EnableFilterDesc: filters.as_mut_ptr(),
            FilterDescCount: size32(filters.len()),
        };
        self.enable(&guid, EVENT_CONTROL_CODE_ENABLE_PROVIDER, provider.keywords, &raw const parameters)
    }

    /// Requests a provider's state as records.
    pub(super) fn capture_state(&self, provider: &Provider) -> Result<(), u32> {
        self.enable(&windows_guid(provider.guid), EVENT_CONTROL_CODE_CAPTURE_STATE, provider.keywords, null())
    }

    fn enable(
        &self,
        guid: &GUID,
        code: u32,
        keywords: u64,
        parameters: *const ENABLE_TRACE_PARAMETERS,
    ) -> Result<(), u32> {
        let session = CONTROLTRACE_HANDLE { Value: self.handle };
        // SAFETY: the parameters are null, or point to a descriptor of each filter, which points to a list
        // of as many ids as it states. All of that outlives the call. With a timeout of 0 the call does not
        // wait for the provider.
        let error = unsafe { EnableTraceEx2(session, guid, code, LEVEL, keywords, 0, 0, parameters) };
        if error == 0 { Ok(()) } else { Err(error) }
    }
}

/// The GUID in Windows' declaration.
pub(super) fn windows_guid(guid: Guid) -> GUID {
    let [a0, a1, a2, a3, b0, b1, c0, c1, rest @ ..] = guid.0;
    GUID {
        data1: u32::from_le_bytes([a0, a1, a2, a3]),
        data2: u16::from_le_bytes([b0, b1]),
        data3: u16::from_le_bytes([c0, c1]),
        data4: rest,
    }
}

/// The size of a structure, far below 4 GB.
fn size32(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use windows_sys::Win32::System::Diagnostics::Etw::{EVENT_FILTER_EVENT_ID, EVENT_TRACE_LOGFILEW};

    #[test]
    fn structures_are_as_windows_has_them() {
        assert_eq!(size_of::<EVENT_TRACE_PROPERTIES>(), 120);
        assert_eq!(offset_of!(EVENT_TRACE_LOGFILEW, Context), 0x1b8);
        assert_eq!(offset_of!(Ids, count), offset_of!(EVENT_FILTER_EVENT_ID, Count));
        assert_eq!(offset_of!(Ids, ids), offset_of!(EVENT_FILTER_EVENT_ID, Events));
    }

    #[test]
    fn a_filter_says_how_many_events_it_has() {
        let ids = Ids::new(&[1001, 1391]);
        let filter = ids.descriptor(EVENT_FILTER_TYPE_STACKWALK);
        assert_eq!((filter.Size, filter.Type), (8, 0x8000_1000));
        assert_eq!((ids.only, ids.count, &ids.ids[..3]), (1, 2, &[1001, 1391, 0][..]));
    }
}
