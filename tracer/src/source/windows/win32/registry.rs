//! TCP/IP settings in the registry.

use super::text;
use windows_sys::Win32::System::Registry::{HKEY_LOCAL_MACHINE, RRF_RT_REG_DWORD, RegGetValueW};

const PARAMETERS: &str = r"SYSTEM\CurrentControlSet\Services\Tcpip\Parameters";

/// The length of TIME_WAIT in seconds, from `TcpTimedWaitDelay`. `None` if it is not set: the default of
/// Windows could not be verified.
#[must_use]
pub fn time_wait_delay() -> Option<u32> {
    number("TcpTimedWaitDelay")
}

/// The highest dynamic port of Windows before Vista, if `MaxUserPort` is still set.
#[must_use]
pub fn max_user_port() -> Option<u32> {
    number("MaxUserPort")
}

fn number(name: &str) -> Option<u32> {
    let (key, name) = (text::wide(PARAMETERS), text::wide(name));
    let mut value = 0_u32;
    let mut bytes = u32::try_from(size_of_val(&value)).ok()?;
    // SAFETY: the names end with a zero, and `value` has the stated size.
    let code = unsafe {
        RegGetValueW(
            HKEY_LOCAL_MACHINE,
            key.as_ptr(),
            name.as_ptr(),
            RRF_RT_REG_DWORD,
            std::ptr::null_mut(),
            (&raw mut value).cast(),
            &raw mut bytes,
        )
    };
    (code == 0).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_set_is_not_known() {
        assert_eq!(number("NoSuchSetting"), None);
    }
}
