//! Texts of UTF-16, as Windows has them.

/// `text` with the zero that ends it.
pub(super) fn wide(text: &str) -> Vec<u16> {
    text.encode_utf16().chain([0]).collect()
}

/// The text up to its zero, or to the end where that is missing.
pub(super) fn narrow(units: &[u16]) -> String {
    let end = units.iter().position(|&unit| unit == 0).unwrap_or(units.len());
    String::from_utf16_lossy(&units[..end])
}

/// The text at a pointer of Windows'. `None` when that is null.
///
/// # Safety
/// Anything but null points to units that can be read up to a zero.
pub(super) unsafe fn at(text: *const u16) -> Option<String> {
    if text.is_null() {
        return None;
    }
    let mut count = 0;
    // SAFETY: the caller says that there is a zero, and this does not go past it.
    while unsafe { text.add(count).read() } != 0 {
        count += 1;
    }
    // SAFETY: they have just been read.
    Some(String::from_utf16_lossy(unsafe { std::slice::from_raw_parts(text, count) }))
}
