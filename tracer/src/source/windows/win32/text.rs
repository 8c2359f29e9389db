//! UTF-16 texts of Windows.

/// `text` with a terminating zero.
pub(super) fn wide(text: &str) -> Vec<u16> {
    text.encode_utf16().chain([0]).collect()
}

/// The text up to its terminating zero, or to the end if that is missing.
pub(super) fn narrow(units: &[u16]) -> String {
    let end = units.iter().position(|&unit| unit == 0).unwrap_or(units.len());
    String::from_utf16_lossy(&units[..end])
}

/// The text at a pointer of Windows; `None` if it is null.
///
/// # Safety
/// If it is not null, it points to units that can be read up to a zero.
pub(super) unsafe fn at(text: *const u16) -> Option<String> {
    if text.is_null() {
        return None;
    }
    let mut count = 0;
    // SAFETY: the caller guarantees a zero, and the loop stops at it.
    while unsafe { text.add(count).read() } != 0 {
        count += 1;
    }
    // SAFETY: they have just been read.
    Some(String::from_utf16_lossy(unsafe { std::slice::from_raw_parts(text, count) }))
}
