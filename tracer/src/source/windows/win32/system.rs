//! The version of Windows, and its clocks.

use super::buffer::bytes_of;
use windows_sys::Wdk::System::SystemServices::RtlGetVersion;
use windows_sys::Win32::Foundation::FILETIME;
use windows_sys::Win32::System::SystemInformation::{
    GetSystemTimePreciseAsFileTime, GetTickCount64, OSVERSIONINFOW,
};

/// A millisecond in the 100 ns of a FILETIME.
const MILLISECOND: u64 = 10_000;

/// The version of Windows: major, minor, build. It does not depend on the program's manifest.
#[must_use]
pub fn version() -> (u32, u32, u32) {
    let mut version =
        OSVERSIONINFOW { dwOSVersionInfoSize: bytes_of::<OSVERSIONINFOW>(), ..OSVERSIONINFOW::default() };
    // SAFETY: it states its own size. The call cannot fail, and would leave zeros if it did.
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

/// When the machine booted, as FILETIME: the zero of our clock, and of the starts of processes. Call it
/// once: it is exact to about 16 ms, and moves when the clock is set.
///
/// It is the system time minus `GetTickCount64`, which counts while the machine sleeps.
/// `QueryUnbiasedInterruptTime` does not, so boot would move.
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
