//! XPRESS decompression for compressed buffers: plain LZ77 as in [MS-XCA] 2.3 and 2.4.
//!
//! Surprising: two half-byte lengths share one byte. The second is taken from the byte of the first, which
//! may lie far back.

/// Appends the decompressed data to `out`, until `out` has `limit` bytes. `None` when it is damaged.
///
/// Data that ends early is no damage: what there is was appended.
pub(super) fn unpack(packed: &[u8], out: &mut Vec<u8>, limit: usize) -> Option<()> {
    let base = out.len();
    let mut input = Input { bytes: packed, at: 0, half: None };
    while out.len() < limit {
        let Some(flags) = input.u32() else {
            return Some(());
        };
        for bit in (0..32).rev() {
            if out.len() >= limit || input.is_empty() {
                return Some(());
            }
            if flags >> bit & 1 == 0 {
                out.push(input.u8()?);
            } else {
                let token = input.u16()?;
                let distance = usize::from(token >> 3) + 1;
                let length = input.length(token & 7)?;
                repeat(out, base, distance, length.min(limit - out.len()))?;
            }
        }
    }
    Some(())
}

/// Copies `length` bytes from `distance` back; source and target may overlap.
fn repeat(out: &mut Vec<u8>, base: usize, distance: usize, length: usize) -> Option<()> {
    let from = out.len().checked_sub(distance).filter(|&from| from >= base)?;
    if distance >= length {
        out.extend_from_within(from..from + length);
    } else {
        for at in from..from + length {
            out.push(out[at]);
        }
    }
    Some(())
}

struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The offset of the byte whose upper half is still unused.
    half: Option<usize>,
}

impl Input<'_> {
    fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let taken = self.bytes.get(self.at..)?.first_chunk::<N>()?;
        self.at += N;
        Some(*taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    /// The length of a match whose token has `low` in its three low bits.
    fn length(&mut self, low: u16) -> Option<usize> {
        const SHORT: usize = 7;
        const HALF: usize = 15;
        if usize::from(low) < SHORT {
            return Some(usize::from(low) + 3);
        }
        let half = match self.half.take() {
            Some(at) => usize::from(self.bytes.get(at)? >> 4),
            None => {
                self.half = Some(self.at);
                usize::from(self.u8()? & 15)
            }
        };
        if half < HALF {
            return Some(half + SHORT + 3);
        }
        let byte = usize::from(self.u8()?);
        if byte < 255 {
            return Some(byte + HALF + SHORT + 3);
        }
        let whole = match self.u16()? {
            0 => usize::try_from(self.u32()?).ok()?,
            short => usize::from(short),
        };
        // The value counts from the shortest match, and must not fit the shorter forms.
        whole.checked_add(3).filter(|_| whole >= HALF + SHORT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn unpacked(packed: &[u8], limit: usize) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        unpack(packed, &mut out, limit)?;
        Some(out)
    }

    /// The examples of [MS-XCA] 3.1.
    #[test]
    fn the_specifications_examples() {
        let packed = b"\x3f\0\0\0abcdefghijklmnopqrstuvwxyz";
        assert_eq!(unpacked(packed, 100).as_deref(), Some(&b"abcdefghijklmnopqrstuvwxyz"[..]));
        let packed = b"\xff\xff\xff\x1fabc\x17\x00\x0f\xff\x26\x01";
        assert_eq!(unpacked(packed, 1000), Some(b"abc".repeat(100)));
    }

    #[test]
    fn a_match_before_the_beginning_is_damage() {
        assert_eq!(unpacked(&[0, 0, 0, 0x80, 0x08, 0], 100), None);
    }

    #[test]
    fn no_more_than_the_limit() {
        let packed = b"\xff\xff\xff\x1fabc\x17\x00\x0f\xff\x26\x01";
        assert_eq!(unpacked(packed, 5).as_deref(), Some(&b"abcab"[..]));
    }

    proptest! {
        #[test]
        fn noise_neither_panics_nor_outgrows_its_limit(noise in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut out = Vec::new();
            let _ = unpack(&noise, &mut out, 1 << 16);
            prop_assert!(out.len() <= 1 << 16);
        }
    }
}
