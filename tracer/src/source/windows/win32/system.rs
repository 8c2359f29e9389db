//! Which Windows this is, and since when it runs.

use super::buffer::bytes_of;
use windows_sys::Wdk::System::SystemServices::RtlGetVersion;
use windows_sys::Win32::Foundation::FILETIME;
use windows_sys::Win32::System::SystemInformation::{
    GetSystemTimePreciseAsFileTime, GetTickCount64, OSVERSIONINFOW,
};

/// A millisecond in the 100 ns of a FILETIME.
const MILLISECOND: u64 = 10_000;

/// Windows' version: major, minor, build; as it is, whatever the program's manifest says it can do.
#[must_use]
pub fn version() -> (u32, u32, u32) {
    let mut version =
        OSVERSIONINFOW { dwOSVersionInfoSize: bytes_of::<OSVERSIONINFOW>(), ..OSVERSIONINFOW::default() };
    // SAFETY: it says how long it is. The call cannot fail, and leaves zeros if it did.
    unsafe { RtlGetVersion(&raw mut version) };
    (version.dwMajorVersion, version.dwMinorVersion, version.dwBuildNumber)
}

/// Now, as FILETIME: 100 ns since 1601, UTC.
#[must_use]
pub fn now_filetime() -> u64 {
    let mut now = FILETIME::default();
    // SAFETY: there is room for it.
    unsafe { GetSystemTimePreciseAsFileTime(&raw mut now) };
    u64::from(now.dwHighDateTime) << 32 | u64::from(now.dwLowDateTime)
}

/// When the machine booted, as FILETIME: the zero of our clock, and that from which the starts of
/// processes are counted. Ask once: it is right to some 16 ms, and moves when the clock is set.
///
/// The system's time less `GetTickCount64`, which goes on while the machine sleeps;
/// `QueryUnbiasedInterruptTime` stands still then, and boot would move.
#[must_use]
pub fn boot_filetime() -> u64 {
    // SAFETY: it takes no arguments.
    let up_ms = unsafe { GetTickCount64() };
    now_filetime().saturating_sub(up_ms * MILLISECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_booted_before_now_and_once() {
        assert!(version().0 >= 6);
        let (first, second) = (boot_filetime(), boot_filetime());
        assert!(first < now_filetime());
        assert!(first.abs_diff(second) < 60_000 * MILLISECOND, "{first} {second}");
    }
}
