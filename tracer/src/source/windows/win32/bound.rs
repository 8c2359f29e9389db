//! TCP endpoints that are only bound, which no documented table lists.
//!
//! iphlpapi.dll exports `InternalGetBoundTcpEndpointTable` and its IPv6 twin without documentation. System
//! Informer (phnt) has their prototypes, and allocates the table on a given heap. A Windows without them is
//! reported as degraded, with the documented way to see these endpoints.

use super::failure;
use crate::event::Degradation;
use crate::source::SourceError;
use crate::source::windows::inventory::Row;
use crate::source::windows::inventory::tables::{BOUND4, BOUND6, Layout};
use std::ffi::{CStr, c_void};
use std::ptr::null_mut;
use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::System::LibraryLoader::{GetModuleHandleW, GetProcAddress};
use windows_sys::Win32::System::Memory::{GetProcessHeap, HeapFree, HeapSize};

/// `ULONG WINAPI (PVOID *Table, PVOID HeapHandle, ULONG HeapFlags)`.
type GetTable = unsafe extern "system" fn(*mut *mut c_void, HANDLE, u32) -> u32;

/// The endpoints. What cannot be listed is added to `degraded`.
pub(super) fn endpoints(degraded: &mut Vec<Degradation>) -> Vec<Row> {
    let mut rows = Vec::new();
    for (layout, name, family) in [
        (BOUND4, c"InternalGetBoundTcpEndpointTable", "IPv4"),
        (BOUND6, c"InternalGetBoundTcp6EndpointTable", "IPv6"),
    ] {
        let table = find(name).map_or_else(|| Err(absent(name)), |get| table(&layout, name, get));
        match table {
            Ok(mut found) => rows.append(&mut found),
            Err(error) => degraded.push(Degradation {
                feature: format!("tcp sockets over {family} that are bound and nothing else"),
                why: error.what,
                remedy: "list them with: Get-NetTCPConnection -State Bound".to_owned(),
            }),
        }
    }
    rows
}

fn absent(name: &CStr) -> SourceError {
    let what = format!("iphlpapi.dll has no {}", name.to_string_lossy());
    SourceError { what, remedy: String::new() }
}

fn table(layout: &Layout, name: &CStr, get: GetTable) -> Result<Vec<Row>, SourceError> {
    let what = format!("{} cannot list them", name.to_string_lossy());
    // SAFETY: it returns the heap of this process, and takes no arguments.
    let heap = unsafe { GetProcessHeap() };
    let mut table = null_mut();
    // SAFETY: the prototype is that of the library, see above; `table` and `heap` are valid.
    let code = unsafe { get(&raw mut table, heap, 0) };
    if code != 0 {
        return Err(failure(&what, code));
    }
    if table.is_null() {
        return Ok(Vec::new());
    }
    // SAFETY: a block of this heap that nothing else refers to.
    let bytes = unsafe {
        let size = HeapSize(heap, 0, table);
        let size = if size == usize::MAX { 0 } else { size };
        std::slice::from_raw_parts(table.cast::<u8>(), size)
    };
    let rows = layout.read(bytes);
    // SAFETY: the same block. Nothing refers to it any more: the rows are copies.
    unsafe { HeapFree(heap, 0, table) };
    let table =
        rows.map_err(|short| SourceError { what: format!("{what}: {short}"), remedy: String::new() })?;
    Ok(table.rows)
}

/// The function of that name in iphlpapi.dll. The library is loaded, as other functions are imported from
/// it.
fn find(name: &CStr) -> Option<GetTable> {
    let library: Vec<u16> = "iphlpapi.dll\0".encode_utf16().collect();
    // SAFETY: both names end with a zero, and the library stays loaded as long as the process lives.
    let function = unsafe {
        let module = GetModuleHandleW(library.as_ptr());
        if module.is_null() { None } else { GetProcAddress(module, name.as_ptr().cast()) }
    }?;
    // SAFETY: both are function pointers, and the function of that name has this prototype.
    Some(unsafe { std::mem::transmute::<unsafe extern "system" fn() -> isize, GetTable>(function) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use windows_sys::Win32::NetworkManagement::IpHelper::{MIB_TCPROW2, MIB_TCPTABLE2};
    use windows_sys::Win32::System::Memory::HeapAlloc;

    /// One endpoint, on the given heap.
    unsafe extern "system" fn one(table: *mut *mut c_void, heap: HANDLE, flags: u32) -> u32 {
        let row = MIB_TCPROW2 {
            dwLocalAddr: u32::from_ne_bytes([127, 0, 0, 1]),
            dwLocalPort: u32::from(50_001_u16.to_be()),
            dwOwningPid: 7,
            ..MIB_TCPROW2::default()
        };
        // SAFETY: the block is as large as what is written to it; `table` is the caller's.
        unsafe {
            let block = HeapAlloc(heap, flags, size_of::<MIB_TCPTABLE2>());
            block.cast::<MIB_TCPTABLE2>().write(MIB_TCPTABLE2 { dwNumEntries: 1, table: [row] });
            table.write(block);
        }
        0
    }

    unsafe extern "system" fn none(_: *mut *mut c_void, _: HANDLE, _: u32) -> u32 {
        0
    }

    unsafe extern "system" fn fail(_: *mut *mut c_void, _: HANDLE, _: u32) -> u32 {
        50
    }

    #[test]
    fn a_table_on_the_heap_is_read_and_freed() {
        let rows = table(&BOUND4, c"One", one).unwrap();
        let [row] = &rows[..] else { panic!("{rows:?}") };
        assert_eq!((row.local, row.pid), ("127.0.0.1:50001".parse().unwrap(), 7));
        assert_eq!(table(&BOUND4, c"None", none).unwrap(), []);
        let error = table(&BOUND4, c"Fail", fail).unwrap_err();
        assert!(error.what.starts_with("Fail cannot list them: ") && error.what.contains("50"), "{error}");
    }

    #[test]
    fn functions_are_looked_up() {
        assert!(find(c"GetExtendedTcpTable").is_some());
        assert!(find(c"GetNoSuchTable").is_none());
    }
}
