//! The running services and their processes (winsvc.h): they distinguish one svchost from another.

use super::buffer::Buffer;
use super::{failure, last_error, text};
use crate::source::SourceError;
use crate::source::windows::decoded_event::Service;
use std::ptr::{null, null_mut};
use windows_sys::Win32::Foundation::ERROR_MORE_DATA;
use windows_sys::Win32::System::Services::{
    CloseServiceHandle, ENUM_SERVICE_STATUS_PROCESSW, EnumServicesStatusExW, OpenSCManagerW,
    SC_ENUM_PROCESS_INFO, SC_HANDLE, SC_MANAGER_ENUMERATE_SERVICE, SERVICE_ACTIVE, SERVICE_WIN32,
};

/// The most that Windows returns at once.
const BUFFER_BYTES: u32 = 256 * 1_024;

/// Windows' list of services, open.
struct Manager(SC_HANDLE);

impl Drop for Manager {
    fn drop(&mut self) {
        // SAFETY: it is open, and ours.
        unsafe { CloseServiceHandle(self.0) };
    }
}

/// Lists the services that run.
///
/// # Errors
/// When Windows does not list them.
pub fn services() -> Result<Vec<Service>, SourceError> {
    // SAFETY: null selects this machine and its default database.
    let manager = unsafe { OpenSCManagerW(null(), null(), SC_MANAGER_ENUMERATE_SERVICE) };
    if manager.is_null() {
        return Err(failure("OpenSCManager cannot open the list of services", last_error()));
    }
    let manager = Manager(manager);
    let mut buffer = Buffer::new(BUFFER_BYTES);
    let mut services = Vec::new();
    let mut next = 0;
    loop {
        let (mut needed, mut count) = (0, 0);
        // SAFETY: the list is open, the buffer has the stated size, and the numbers outlive the call.
        let done = unsafe {
            EnumServicesStatusExW(
                manager.0,
                SC_ENUM_PROCESS_INFO,
                SERVICE_WIN32,
                SERVICE_ACTIVE,
                buffer.pointer().cast(),
                BUFFER_BYTES,
                &raw mut needed,
                &raw mut count,
                &raw mut next,
                null_mut(),
            )
        };
        let code = if done == 0 { last_error() } else { 0 };
        if code != 0 && code != ERROR_MORE_DATA {
            return Err(failure("EnumServicesStatusEx cannot list the services", code));
        }
        // SAFETY: the call has filled in as many services, and their names are in the same buffer.
        services.extend(
            (0..count as usize).filter_map(|at| unsafe { service(buffer.pointer().cast_const().cast(), at) }),
        );
        if code == 0 || count == 0 {
            return Ok(services);
        }
    }
}

/// The service at an index of the list.
///
/// # Safety
/// There are more than `at` services at `list`, with names that can be read.
unsafe fn service(list: *const ENUM_SERVICE_STATUS_PROCESSW, at: usize) -> Option<Service> {
    // SAFETY: the caller guarantees that it is there, and the buffer is aligned for it.
    let status = unsafe { list.add(at).read() };
    let pid = status.ServiceStatusProcess.dwProcessId;
    // SAFETY: the caller guarantees that the name can be read.
    unsafe { text::at(status.lpServiceName) }.map(|name| Service { pid, name })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_run_have_names() {
        let services = services().unwrap();
        assert!(services.iter().all(|service| !service.name.is_empty()), "{services:?}");
    }
}
