//! The kernel's images: the address of each driver.

use super::buffer::Buffer;
use super::handle::Handle;
use super::{refused, text};
use crate::source::SourceError;
use crate::source::windows::decoded_event::Image;
use crate::source::windows::inventory::modules;
use std::ptr::{null, null_mut};
use windows_sys::Wdk::System::SystemInformation::NtQuerySystemInformation;
use windows_sys::Win32::Foundation::LUID;
use windows_sys::Win32::Security::{
    AdjustTokenPrivileges, LUID_AND_ATTRIBUTES, LookupPrivilegeValueW, SE_PRIVILEGE_ENABLED,
    TOKEN_ADJUST_PRIVILEGES, TOKEN_PRIVILEGES,
};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, OpenProcessToken};

/// `SystemModuleInformation`: undocumented; ntexapi.h of System Informer's phnt.
const MODULES: i32 = 11;

/// Lists the kernel's images. Call [`enable_debug_privilege`] before.
///
/// # Errors
/// When Windows does not list them, or withholds their addresses.
pub fn drivers() -> Result<Vec<Image>, SourceError> {
    let what = "NtQuerySystemInformation cannot list the drivers";
    let list = Buffer::fill(1 << 17, |to, bytes, needed| {
        // SAFETY: `to` has as many bytes, and `needed` outlives the call.
        unsafe { NtQuerySystemInformation(MODULES, to, bytes, needed) }.cast_unsigned()
    });
    let list = list.map_err(|status| refused(what, status))?;
    let images = modules::read(list.bytes(), if cfg!(target_pointer_width = "32") { 4 } else { 8 });
    let images = images.ok_or_else(|| SourceError {
        what: format!("{what}: the list is shorter than it says"),
        remedy: "compare with: driverquery /v".to_owned(),
    })?;
    if modules::are_withheld(&images) {
        return Err(SourceError {
            what: "Windows withholds the addresses of drivers from those without SeDebugPrivilege".to_owned(),
            remedy: "run portleak as Administrator, who has it unless a policy takes it away".to_owned(),
        });
    }
    Ok(images)
}

/// Enables SeDebugPrivilege for this process, which administrators have. Returns whether it is enabled.
pub fn enable_debug_privilege() -> bool {
    let mut token = null_mut();
    // SAFETY: the handle of this process needs no closing, and the token's handle is ours.
    let token = unsafe {
        let opened = OpenProcessToken(GetCurrentProcess(), TOKEN_ADJUST_PRIVILEGES, &raw mut token);
        if opened == 0 { None } else { Handle::of(token) }
    };
    let Some(token) = token else {
        return false;
    };
    let name = text::wide("SeDebugPrivilege");
    let mut luid = LUID::default();
    // SAFETY: the name ends with a zero, and there is room for its number.
    if unsafe { LookupPrivilegeValueW(null(), name.as_ptr(), &raw mut luid) } == 0 {
        return false;
    }
    let privileges = TOKEN_PRIVILEGES {
        PrivilegeCount: 1,
        Privileges: [LUID_AND_ATTRIBUTES { Luid: luid, Attributes: SE_PRIVILEGE_ENABLED }],
    };
    // SAFETY: the token is open, there is one privilege, and the previous state is not requested.
    let done =
        unsafe { AdjustTokenPrivileges(token.get(), 0, &raw const privileges, 0, null_mut(), null_mut()) };
    // The call succeeds with ERROR_NOT_ALL_ASSIGNED when it has changed nothing.
    done != 0 && super::last_error() == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drivers_are_listed_or_withheld() {
        enable_debug_privilege();
        match drivers() {
            Ok(images) => assert!(images.iter().all(|image| image.pid == 4), "{images:?}"),
            Err(error) => assert!(error.what.contains("withholds"), "{error}"),
        }
    }
}
