//! Writes a record's extended items as a chain, in the form of a trace file.

use std::iter::Peekable;

/// The header of an item: size, kind, whether another follows, and size of its data, two bytes each.
const HEADER: usize = 8;

/// Writes items, each a kind and its data, to `chain`, and replaces its content. Skips an item that is too
/// large for the form.
pub fn write<'a>(items: impl Iterator<Item = (u16, &'a [u8])>, chain: &mut Vec<u8>) {
    chain.clear();
    let mut items: Peekable<_> = items.filter_map(measured).peekable();
    while let Some((kind, data, size, length)) = items.next() {
        let linked = u16::from(items.peek().is_some());
        let end = chain.len() + usize::from(size);
        for part in [size, kind, linked, length] {
            chain.extend(part.to_le_bytes());
        }
        chain.extend_from_slice(data);
        chain.resize(end, 0);
    }
}

/// An item with its size and the size of its data.
fn measured((kind, data): (u16, &[u8])) -> Option<(u16, &[u8], u16, u16)> {
    let size = (HEADER + data.len()).next_multiple_of(8);
    Some((kind, data, u16::try_from(size).ok()?, u16::try_from(data.len()).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::windows::guid::TCPIP;
    use crate::source::windows::record::Record;

    const STACK64: u16 = 6;
    const START_KEY: u16 = 13;

    fn record(extended: &[u8]) -> Record<'_> {
        Record {
            time: 0,
            provider: TCPIP,
            id: 1001,
            version: 0,
            opcode: 0,
            pid: None,
            tid: None,
            pointer: 8,
            extended,
            payload: &[],
        }
    }

    #[test]
    fn a_record_reads_what_was_written() {
        let stack = [0_u64, 0xffff_f800_1234_5678, 0x7ff6_0000_1000].map(u64::to_le_bytes).concat();
        let key = 42_u64.to_le_bytes();
        let huge = vec![0; usize::from(u16::MAX)];
        let mut chain = vec![1; 3];
        write([(1, &[7; 3][..]), (9, &huge), (STACK64, &stack), (START_KEY, &key)].into_iter(), &mut chain);
        let read = record(&chain);
        assert_eq!(read.stack().collect::<Vec<_>>(), [0xffff_f800_1234_5678, 0x7ff6_0000_1000]);
        assert_eq!(read.start_key(), Some(42));
        assert_eq!(chain.len() % 8, 0);
        write(std::iter::empty(), &mut chain);
        assert!(chain.is_empty());
    }
}
