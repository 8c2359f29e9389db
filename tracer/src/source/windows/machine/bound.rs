//! TCP endpoints that are bound and nothing else, which no documented table lists.
//!
//! `InternalGetBoundTcpEndpointTable` and its twin for IPv6 are exported by iphlpapi.dll and not
//! documented; System Informer (phnt) has their prototypes, and that they allocate the table on a heap
//! that they are given. A Windows that lacks them is told of, with the documented way to see them.

use super::failure;
use crate::event::Degradation;
use crate::source::SourceError;
use crate::source::windows::listing::Row;
use crate::source::windows::listing::tables::{BOUND4, BOUND6, Layout};
use std::ffi::{CStr, c_void};
use std::ptr::null_mut;
use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::System::LibraryLoader::{GetModuleHandleW, GetProcAddress};
use windows_sys::Win32::System::Memory::{GetProcessHeap, HeapFree, HeapSize};

/// `ULONG WINAPI (PVOID *Table, PVOID HeapHandle, ULONG HeapFlags)`.
type GetTable = unsafe extern "system" fn(*mut *mut c_void, HANDLE, u32) -> u32;

/// The endpoints; what cannot be listed goes to `degraded`.
pub(super) fn endpoints(degraded: &mut Vec<Degradation>) -> Vec<Row> {
    let mut rows = Vec::new();
    for (layout, name, family) in [
        (BOUND4, c"InternalGetBoundTcpEndpointTable", "IPv4"),
        (BOUND6, c"InternalGetBoundTcp6EndpointTable", "IPv6"),
    ] {
        match table(&layout, name) {
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

fn table(layout: &Layout, name: &CStr) -> Result<Vec<Row>, SourceError> {
    let shown = name.to_string_lossy();
    let Some(get) = find(name) else {
        let what = format!("iphlpapi.dll has no {shown}");
        return Err(SourceError { what, remedy: String::new() });
    };
    let what = format!("{shown} cannot list them");
    // SAFETY: it is the heap of this process, and takes no arguments.
    let heap = unsafe { GetProcessHeap() };
    let mut table = null_mut();
    // SAFETY: the prototype is the one that the library has, see above; `table` and `heap` are valid.
    let code = unsafe { get(&raw mut table, heap, 0) };
    if code != 0 {
        return Err(failure(&what, code));
    }
    if table.is_null() {
        return Ok(Vec::new());
    }
    // SAFETY: a block of this heap that nobody else knows.
    let bytes = unsafe {
        let size = HeapSize(heap, 0, table);
        let size = if size == usize::MAX { 0 } else { size };
        std::slice::from_raw_parts(table.cast::<u8>(), size)
    };
    let rows = layout.read(bytes);
    // SAFETY: the same block, which nothing refers to any more: what was read is copied.
    unsafe { HeapFree(heap, 0, table) };
    let table =
        rows.map_err(|short| SourceError { what: format!("{what}: {short}"), remedy: String::new() })?;
    Ok(table.rows)
}

/// The function of that name in iphlpapi.dll, which is loaded: others of its functions are imported.
fn find(name: &CStr) -> Option<GetTable> {
    let library: Vec<u16> = "iphlpapi.dll\0".encode_utf16().collect();
    // SAFETY: both names end with a zero, and the library stays loaded as long as the process lives.
    let function = unsafe {
        let module = GetModuleHandleW(library.as_ptr());
        if module.is_null() { None } else { GetProcAddress(module, name.as_ptr().cast()) }
    }?;
    // SAFETY: both are pointers to functions; this is what the one of that name is.
    Some(unsafe { std::mem::transmute::<unsafe extern "system" fn() -> isize, GetTable>(function) })
}
