//! A stand-in for `source::windows::machine` until that is here.

use crate::event::{Degradation, PoolId, PortRange};
use crate::source::SourceError;
use crate::source::windows::fact::{Image, Process, Service};
use crate::source::windows::listing::Row;
use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};
use windows_sys::Win32::System::SystemInformation::GetTickCount64;

pub(super) struct Ranges {
    pub(super) pools: BTreeMap<PoolId, PortRange>,
    pub(super) unknown: Vec<Degradation>,
}
pub(super) fn sockets() -> Result<Vec<Row>, SourceError> {
    Ok(Vec::new())
}
pub(super) fn ranges() -> Ranges {
    Ranges { pools: BTreeMap::new(), unknown: Vec::new() }
}
pub(super) fn processes() -> Vec<Process> {
    Vec::new()
}
pub(super) fn services() -> Vec<Service> {
    Vec::new()
}
pub(super) fn drivers() -> Result<Vec<Image>, SourceError> {
    Ok(Vec::new())
}
pub(super) fn enable_debug_privilege() -> bool {
    true
}
pub(super) fn boot_filetime() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() / 100;
    // SAFETY: it takes and changes nothing.
    let up = unsafe { GetTickCount64() } * 10_000;
    u64::try_from(now).unwrap_or(0) + 116_444_736_000_000_000 - up
}
pub(super) fn version() -> (u32, u32, u32) {
    (10, 0, 19_045)
}
