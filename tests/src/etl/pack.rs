//! XPRESS, packing: greedy, with the last place of each three bytes as the only candidate.

use std::collections::HashMap;

/// The longest distance back that a match can name.
const WINDOW: usize = 8192;

pub fn pack(bytes: &[u8]) -> Vec<u8> {
    let mut packer = Packer { out: vec![0; 4], flags_at: 0, flags: 0, bits: 0, half: None };
    let mut last = HashMap::new();
    let mut at = 0;
    while at < bytes.len() {
        let key = bytes.get(at..at + 3);
        let from = key.and_then(|key| last.get(key).copied()).filter(|from| at - from <= WINDOW);
        key.and_then(|key| last.insert(key, at));
        let same = |from: usize| bytes[from..].iter().zip(&bytes[at..]).take_while(|(a, b)| a == b).count();
        match from.map(|from| (from, same(from))).filter(|(_, length)| *length >= 3) {
            Some((from, length)) => {
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
    /// Where the byte lies whose upper half is free.
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

    /// What follows the last token in the flags is 1, so that the end is no literal.
    fn end(mut self) -> Vec<u8> {
        let left = 32 - self.bits;
        let ones = 1_u32.checked_shl(left).map_or(u32::MAX, |bit| bit - 1);
        self.flags = self.flags.checked_shl(left).unwrap_or(0) | ones;
        self.close();
        self.out
    }
}
