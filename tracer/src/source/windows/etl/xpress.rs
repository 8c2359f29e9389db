//! XPRESS, as the buffers of a compressed trace use it: the plain LZ77 of [MS-XCA] 2.3 and 2.4.
//!
//! Surprising: of a length's half bytes two share one byte, and the second is taken from the byte
//! that the first was read from, perhaps long before.

/// The longest distance back that a match can name.
#[cfg(test)]
const WINDOW: usize = 8192;

/// Appends what `packed` holds to `out`, until `out` has `limit` bytes. `None` when it is damaged.
///
/// Data that ends early is no damage: what there is has been appended.
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

/// Copies `length` bytes from `distance` back; they may overlap what is being written.
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
    /// Where the byte lies whose upper half is still to be used.
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
        // It counts from the shortest match, and must be one that the shorter forms cannot say.
        whole.checked_add(3).filter(|_| whole >= HALF + SHORT)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Packs `bytes`: greedy, with the last place of each three bytes as the only candidate.
    pub(in crate::source::windows) fn pack(bytes: &[u8]) -> Vec<u8> {
        let mut packer = Packer { out: vec![0; 4], flags_at: 0, flags: 0, bits: 0, half: None };
        let mut last = std::collections::HashMap::new();
        let mut at = 0;
        while at < bytes.len() {
            let key = bytes.get(at..at + 3);
            let from = key.and_then(|key| last.get(key).copied()).filter(|from| at - from <= WINDOW);
            key.and_then(|key| last.insert(key, at));
            let length = from.map_or(0, |from: usize| {
                bytes[from..].iter().zip(&bytes[at..]).take_while(|(a, b)| a == b).count()
            });
            match from.filter(|_| length >= 3) {
                Some(from) => {
                    packer.matched(at - from, length);
                    at += length;
                }
                None => {
                    packer.flag(false);
                    packer.out.push(bytes[at]);
                    at += 1;
                }
            }
        }
        packer.end()
    }

    struct Packer {
        out: Vec<u8>,
        flags_at: usize,
        flags: u32,
        bits: u32,
        half: Option<usize>,
    }

    impl Packer {
        fn flag(&mut self, bit: bool) {
            if self.bits == 32 {
                self.close();
                self.flags_at = self.out.len();
                self.out.extend([0; 4]);
                (self.flags, self.bits) = (0, 0);
            }
            self.flags = self.flags << 1 | u32::from(bit);
            self.bits += 1;
        }

        fn close(&mut self) {
            self.out[self.flags_at..self.flags_at + 4].copy_from_slice(&self.flags.to_le_bytes());
        }

        fn matched(&mut self, distance: usize, length: usize) {
            self.flag(true);
            let length = length - 3;
            let token = (distance - 1) << 3 | length.min(7);
            self.out.extend(u16::try_from(token).expect("the window is 8 KiB").to_le_bytes());
            if length < 7 {
                return;
            }
            let half = u8::try_from((length - 7).min(15)).expect("at most 15");
            match self.half.take() {
                Some(at) => self.out[at] |= half << 4,
                None => {
                    self.half = Some(self.out.len());
                    self.out.push(half);
                }
            }
            match length {
                ..22 => {}
                22..277 => self.out.push(u8::try_from(length - 22).expect("below 255")),
                277..65_536 => {
                    self.out.push(255);
                    self.out.extend(u16::try_from(length).expect("16 bits").to_le_bytes());
                }
                _ => {
                    self.out.extend([255, 0, 0]);
                    self.out.extend(u32::try_from(length).expect("32 bits").to_le_bytes());
                }
            }
        }

        /// What follows the last token in the flags is 1, so that the end is not a literal.
        fn end(mut self) -> Vec<u8> {
            let left = 32 - self.bits;
            self.flags = self.flags.checked_shl(left).unwrap_or(0)
                | 1_u32.checked_shl(left).map_or(u32::MAX, |x| x - 1);
            self.close();
            self.out
        }
    }

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
        assert_eq!(unpacked(&pack(&[7; 100_000]), 5), Some(vec![7; 5]));
    }

    proptest! {
        #[test]
        fn what_was_packed_is_unpacked(bytes in prop::collection::vec(0_u8..4, 0..5000)) {
            prop_assert_eq!(unpacked(&pack(&bytes), bytes.len()), Some(bytes));
        }

        #[test]
        fn long_runs(lengths in prop::collection::vec((any::<u8>(), 1_usize..70_000), 1..5)) {
            let bytes: Vec<_> = lengths.iter().flat_map(|&(byte, n)| vec![byte; n]).collect();
            prop_assert_eq!(unpacked(&pack(&bytes), bytes.len()), Some(bytes));
        }

        #[test]
        fn noise_neither_panics_nor_outgrows_its_limit(noise in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut out = Vec::new();
            let _ = unpack(&noise, &mut out, 1 << 16);
            prop_assert!(out.len() <= 1 << 16);
        }
    }
}
