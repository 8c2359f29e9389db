//! Converts a record from Windows' callback form (`EVENT_RECORD`, evntcons.h) to the common one.

use super::extended_items;
use crate::source::windows::guid::Guid;
use crate::source::windows::record::Record;
use ferrisetw::EventRecord;
use std::ffi::c_void;
use std::mem::{offset_of, size_of};
use std::ptr::{from_ref, with_exposed_provenance};
use std::slice;
use windows_sys::Win32::System::Diagnostics::Etw::{
    EVENT_HEADER_EXTENDED_DATA_ITEM, EVENT_HEADER_FLAG_32_BIT_HEADER, EVENT_RECORD,
};
use windows_sys::core::GUID;

// 64-bit Windows. ferrisetw has its own declaration of the same structure.
const _: () = assert!(size_of::<EVENT_RECORD>() == 112);
const _: () = assert!(size_of::<EventRecord>() == size_of::<EVENT_RECORD>());
const _: () = assert!(align_of::<EventRecord>() == align_of::<EVENT_RECORD>());
const _: () = assert!(offset_of!(EVENT_RECORD, UserData) == 96);
const _: () = assert!(size_of::<EVENT_HEADER_EXTENDED_DATA_ITEM>() == 16);

/// Converts a record. `extended` receives its extended items.
pub(super) fn read<'a>(event: &'a EventRecord, extended: &'a mut Vec<u8>) -> Record<'a> {
    // SAFETY: `EventRecord` is a transparent wrapper of this structure: see the assertions above, and its
    // declaration. It lives for 'a, and nothing writes to it during the callback.
    let raw = unsafe { &*from_ref(event).cast::<EVENT_RECORD>() };
    // SAFETY: Windows provides as many items as the count, for the time of the callback.
    let items = unsafe { bytes_of(raw.ExtendedData, raw.ExtendedDataCount) };
    extended_items::write(items.iter().map(extended_item), extended);
    // SAFETY: Windows provides as many bytes as the length, for the time of the callback.
    let payload = unsafe { bytes_of::<u8>(raw.UserData.cast(), raw.UserDataLength) };
    let header = &raw.EventHeader;
    let descriptor = &header.EventDescriptor;
    let wide = u32::from(header.Flags) & EVENT_HEADER_FLAG_32_BIT_HEADER == 0;
    Record {
        time: header.TimeStamp.cast_unsigned(),
        provider: guid(&header.ProviderId),
        id: descriptor.Id,
        version: descriptor.Version,
        opcode: descriptor.Opcode,
        pid: Some(header.ProcessId).filter(|&pid| pid != u32::MAX),
        tid: Some(header.ThreadId).filter(|&tid| tid != u32::MAX),
        pointer: if wide { 8 } else { 4 },
        extended,
        payload,
    }
}

/// An extended item: its kind and data.
fn extended_item(item: &EVENT_HEADER_EXTENDED_DATA_ITEM) -> (u16, &[u8]) {
    let address = usize::try_from(item.DataPtr).unwrap_or_default();
    let data = with_exposed_provenance::<c_void>(address);
    // SAFETY: as for the items: each states the size of its data.
    (item.ExtType, unsafe { bytes_of::<u8>(data.cast(), item.DataSize) })
}

/// The values of a pointer and count of Windows; none if the pointer is null.
///
/// # Safety
/// If it is not null, it points to that many values, and nothing writes to them during 'a.
unsafe fn bytes_of<'a, T>(data: *const T, count: u16) -> &'a [T] {
    if data.is_null() || count == 0 {
        return &[];
    }
    // SAFETY: the caller guarantees it.
    unsafe { slice::from_raw_parts(data, usize::from(count)) }
}

fn guid(guid: &GUID) -> Guid {
    let ([a0, a1, a2, a3], [b0, b1]) = (guid.data1.to_le_bytes(), guid.data2.to_le_bytes());
    let ([c0, c1], [d0, d1, d2, d3, d4, d5, d6, d7]) = (guid.data3.to_le_bytes(), guid.data4);
    Guid([a0, a1, a2, a3, b0, b1, c0, c1, d0, d1, d2, d3, d4, d5, d6, d7])
}

#[cfg(test)]
mod tests {
    use super::super::control::windows_guid;
    use super::*;
    use crate::source::windows::guid::TCPIP;

    #[test]
    fn a_record_is_read_with_its_extended_items() {
        let stack = [0_u64, 0xffff_f800_0000_1000];
        let payload = [1_u8, 2, 3];
        let mut item = EVENT_HEADER_EXTENDED_DATA_ITEM {
            ExtType: 6,
            DataSize: 16,
            DataPtr: stack.as_ptr().expose_provenance() as u64,
            ..Default::default()
        };
        let mut raw = EVENT_RECORD::default();
        raw.EventHeader.TimeStamp = 133_800_000_000_000_000;
        raw.EventHeader.ProviderId = windows_guid(TCPIP);
        raw.EventHeader.ProcessId = 4;
        raw.EventHeader.ThreadId = u32::MAX;
        raw.EventHeader.EventDescriptor.Id = 1001;
        (raw.ExtendedDataCount, raw.ExtendedData) = (1, &raw mut item);
        (raw.UserDataLength, raw.UserData) = (3, payload.as_ptr().cast_mut().cast());
        // SAFETY: it is the transparent wrapper of the same structure.
        let event = unsafe { &*from_ref(&raw).cast::<EventRecord>() };
        let mut extended = Vec::new();
        let record = read(event, &mut extended);
        assert_eq!((record.provider, record.id, record.time), (TCPIP, 1001, 133_800_000_000_000_000));
        assert_eq!((record.pid, record.tid, record.pointer), (Some(4), None, 8));
        assert_eq!((record.payload, record.stack().collect::<Vec<_>>()), (&payload[..], vec![stack[1]]));
    }

    #[test]
    fn a_record_without_anything_is_read() {
        let raw = EVENT_RECORD::default();
        // SAFETY: as above.
        let event = unsafe { &*from_ref(&raw).cast::<EventRecord>() };
        let mut extended = Vec::new();
        let record = read(event, &mut extended);
        assert!(record.payload.is_empty() && record.extended.is_empty());
    }
}
