//! What the machine lists of itself: its sockets, its drivers.

use crate::state::{PLAN, note, session};
use portleak_tests::plan::{Driver, Socket};
use serde_json::json;
use std::ffi::c_void;
use std::net::Ipv4Addr;
use windows_sys::Win32::Foundation::{
    ERROR_INSUFFICIENT_BUFFER, FARPROC, NO_ERROR, NTSTATUS, STATUS_INFO_LENGTH_MISMATCH,
};
use windows_sys::Win32::NetworkManagement::IpHelper::{MIB_TCPROW_OWNER_MODULE, MIB_UDPROW_OWNER_MODULE};
use windows_sys::Win32::Networking::WinSock::AF_INET;
use windows_sys::Win32::System::LibraryLoader::{GetModuleHandleW, GetProcAddress};
use windows_sys::core::w;

/// `SystemModuleInformation`: not documented; ntexapi.h of System Informer's phnt.
const MODULES: i32 = 11;

/// `RTL_PROCESS_MODULE_INFORMATION` (ntldr.h of phnt).
#[repr(C)]
struct Module {
    section: u64,
    mapped_base: u64,
    image_base: u64,
    image_size: u32,
    flags: u32,
    load_order: u16,
    init_order: u16,
    load_count: u16,
    name_at: u16,
    path: [u8; 256],
}

/// # Safety
/// As of Windows' own function.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn GetExtendedTcpTable(
    table: *mut c_void,
    bytes: *mut u32,
    _order: i32,
    family: u32,
    _class: i32,
    _reserved: u32,
) -> u32 {
    let row = |socket: &Socket| MIB_TCPROW_OWNER_MODULE {
        dwState: socket.state,
        dwLocalPort: u32::from(socket.port.to_be()),
        dwRemoteAddr: u32::from_ne_bytes(Ipv4Addr::new(10, 0, 0, 9).octets()),
        dwRemotePort: u32::from(443_u16.to_be()),
        dwOwningPid: socket.pid,
        ..MIB_TCPROW_OWNER_MODULE::default()
    };
    let rows: Vec<_> = sockets(false, family).map(row).collect();
    note(&json!({ "call": "GetExtendedTcpTable", "family": family, "rows": rows.len() }));
    // SAFETY: the caller has given so much room.
    unsafe { fill(&rows, table.cast(), bytes) }
}

/// # Safety
/// As of Windows' own function.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn GetExtendedUdpTable(
    table: *mut c_void,
    bytes: *mut u32,
    _order: i32,
    family: u32,
    _class: i32,
    _reserved: u32,
) -> u32 {
    let row = |socket: &Socket| MIB_UDPROW_OWNER_MODULE {
        dwLocalPort: u32::from(socket.port.to_be()),
        dwOwningPid: socket.pid,
        ..MIB_UDPROW_OWNER_MODULE::default()
    };
    let rows: Vec<_> = sockets(true, family).map(row).collect();
    // SAFETY: the caller has given so much room.
    unsafe { fill(&rows, table.cast(), bytes) }
}

/// The sockets of this instant.
fn sockets(udp: bool, family: u32) -> impl Iterator<Item = &'static Socket> {
    let began = session().as_ref().and_then(|session| session.began);
    let now_s = began.map_or(0.0, |began| began.elapsed().as_secs_f64());
    let is_there = move |socket: &&Socket| {
        socket.udp == udp && (socket.from_s..socket.until_s).contains(&now_s) && family == u32::from(AF_INET)
    };
    PLAN.sockets.iter().filter(is_there)
}

/// Fills a table: a count, then as many rows, as far from the beginning as they must lie.
///
/// # Safety
/// There is as much room at `table` as `bytes` says.
unsafe fn fill<Row>(rows: &[Row], table: *mut u8, bytes: *mut u32) -> u32 {
    let first = align_of::<Row>().max(size_of::<u32>());
    let needed = u32::try_from(first + size_of_val(rows)).expect("few rows");
    // SAFETY: the caller says that it is a number.
    let room = unsafe { bytes.replace(needed) };
    if table.is_null() || room < needed {
        return ERROR_INSUFFICIENT_BUFFER;
    }
    // SAFETY: there is room for the count and for all rows.
    unsafe {
        table.cast::<u32>().write_unaligned(u32::try_from(rows.len()).expect("few rows"));
        table.add(first).copy_from_nonoverlapping(rows.as_ptr().cast(), size_of_val(rows));
    }
    NO_ERROR
}

/// # Safety
/// As of Windows' own function.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn NtQuerySystemInformation(
    class: i32,
    to: *mut c_void,
    bytes: u32,
    needed: *mut u32,
) -> NTSTATUS {
    if class != MODULES {
        // SAFETY: as the caller means it.
        return unsafe { windows()(class, to, bytes, needed) };
    }
    let modules: Vec<_> = PLAN.drivers.iter().map(module).collect();
    note(&json!({ "call": "NtQuerySystemInformation", "modules": modules.len() }));
    let mut room = bytes;
    // SAFETY: the caller has given so much room, and a place for what is needed or none.
    let filled = unsafe { fill(&modules, to.cast(), &raw mut room) };
    // SAFETY: as above.
    if let Some(needed) = unsafe { needed.as_mut() } {
        *needed = room;
    }
    if filled == NO_ERROR { 0 } else { STATUS_INFO_LENGTH_MISMATCH }
}

fn module(driver: &Driver) -> Module {
    let mut path = [0; 256];
    path[..driver.path.len()].copy_from_slice(driver.path.as_bytes());
    let name_at = driver.path.rfind('\\').map_or(0, |at| at + 1);
    Module {
        section: 0,
        mapped_base: 0,
        image_base: driver.base,
        image_size: driver.bytes,
        flags: 0,
        load_order: 0,
        init_order: 0,
        load_count: 1,
        name_at: u16::try_from(name_at).expect("a short path"),
        path,
    }
}

type Query = unsafe extern "system" fn(i32, *mut c_void, u32, *mut u32) -> NTSTATUS;

/// Windows' own function, which has the same name as ours.
fn windows() -> Query {
    // SAFETY: both names are texts, and every process has this library.
    let found = unsafe {
        GetProcAddress(GetModuleHandleW(w!("ntdll.dll")), c"NtQuerySystemInformation".as_ptr().cast())
    };
    // SAFETY: it is the function of this prototype (winternl.h).
    unsafe { std::mem::transmute::<FARPROC, Option<Query>>(found) }.expect("ntdll has it")
}
