//! Buffers for answers of unknown size.

use std::ffi::c_void;

/// How often a call is repeated with a larger buffer: what it lists may grow meanwhile.
const TRIES: usize = 16;
/// The largest buffer: longer than any of these answers.
const BYTES_MAX: u32 = 1 << 30;

/// `ERROR_INSUFFICIENT_BUFFER` (winerror.h), and of the kernel `STATUS_INFO_LENGTH_MISMATCH`,
/// `STATUS_BUFFER_OVERFLOW` and `STATUS_BUFFER_TOO_SMALL` (ntstatus.h).
const TOO_SMALL: [u32; 4] = [122, 0xc000_0004, 0x8000_0005, 0xc000_0023];

/// The size of a structure that states its own size.
#[expect(clippy::cast_possible_truncation, reason = "no structure of Windows' is that long")]
pub(super) const fn bytes_of<T>() -> u32 {
    size_of::<T>() as u32
}

/// Memory aligned for any of the structures in it.
pub(super) struct Buffer(Vec<u64>);

impl Buffer {
    pub(super) fn new(bytes: u32) -> Self {
        Self(vec![0; bytes.div_ceil(8) as usize])
    }

    /// Calls `ask` with larger and larger buffers until one is large enough. `ask` gets the address, the
    /// size, and where to write the needed size. It returns an error number, or 0.
    ///
    /// # Errors
    /// With that number.
    pub(super) fn fill(
        first_bytes: u32,
        mut ask: impl FnMut(*mut c_void, u32, &mut u32) -> u32,
    ) -> Result<Self, u32> {
        let mut bytes = first_bytes;
        let mut code = 0;
        for _ in 0..TRIES {
            let mut buffer = Self::new(bytes);
            let mut needed = bytes;
            code = ask(buffer.pointer(), bytes, &mut needed);
            if code == 0 {
                return Ok(buffer);
            }
            if !TOO_SMALL.contains(&code) || bytes >= BYTES_MAX {
                break;
            }
            bytes = bytes.saturating_mul(2).max(needed.saturating_add(4_096)).min(BYTES_MAX);
        }
        Err(code)
    }

    pub(super) fn pointer(&mut self) -> *mut c_void {
        self.0.as_mut_ptr().cast()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: as many bytes are initialised, and bytes need no alignment.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), size_of_val(&self.0[..])) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_as_long_as_it_is_too_small() {
        let mut asked = Vec::new();
        let buffer = Buffer::fill(16, |_, bytes, needed| {
            asked.push(bytes);
            *needed = 20_000;
            if bytes < 20_000 { TOO_SMALL[0] } else { 0 }
        });
        assert_eq!(asked, [16, 24_096]);
        assert_eq!(buffer.map(|buffer| buffer.bytes().len()), Ok(24_096));
    }

    #[test]
    fn another_error_ends_it_and_so_does_one_that_never_ends() {
        let mut asked = 0;
        let mut count = |code| {
            asked = 0;
            let failed = Buffer::fill(8, |_, _, _| {
                asked += 1;
                code
            });
            (failed.err(), asked)
        };
        assert_eq!(count(5), (Some(5), 1));
        let (code, asked) = count(TOO_SMALL[1]);
        assert!(code == Some(TOO_SMALL[1]) && asked <= TRIES, "{asked}");
    }
}
