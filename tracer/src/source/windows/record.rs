//! One record of a trace, from a session or from a file.

use super::bytes::Bytes;
use super::guid::Guid;

/// The stack of a record: `EVENT_HEADER_EXT_TYPE_STACK_TRACE32` and `…64` (evntcons.h).
const STACK_TRACE32: u16 = 5;
const STACK_TRACE64: u16 = 6;
/// `EVENT_HEADER_EXT_TYPE_PROCESS_START_KEY` (evntcons.h).
const PROCESS_START_KEY: u16 = 13;

/// A record in a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its time, in ticks of the trace's clock.
    pub time: u64,
    /// The provider that wrote it.
    pub provider: Guid,
    /// The event id; 0 for MOF events, which have an opcode instead.
    pub id: u16,
    /// The version of its layout.
    pub version: u8,
    /// The opcode: the type of a MOF event.
    pub opcode: u8,
    /// The process whose thread wrote it, if its header has one.
    pub pid: Option<u32>,
    /// That thread.
    pub tid: Option<u32>,
    /// The size of a pointer in its process: 4 or 8 bytes.
    pub pointer: u8,
    /// The extended items: a chain.
    pub extended: &'a [u8],
    /// The event's own data.
    pub payload: &'a [u8],
}

impl<'a> Record<'a> {
    /// The return addresses of its stack, innermost first.
    pub fn stack(&self) -> impl Iterator<Item = u64> + use<'a> {
        let items = Items(Bytes(self.extended));
        let stack = items.filter(|item| matches!(item.0, STACK_TRACE32 | STACK_TRACE64));
        stack.flat_map(|(kind, data)| {
            let width = if kind == STACK_TRACE32 { 4 } else { 8 };
            // The first eight bytes match the kernel and user parts of one stack.
            let addresses = data.get(8..).unwrap_or_default().chunks_exact(usize::from(width));
            addresses.filter_map(move |address| Bytes(address).pointer(width))
        })
    }

    /// The start key of the process that wrote it: unique until the next boot.
    #[must_use]
    pub fn start_key(&self) -> Option<u64> {
        let mut items = Items(Bytes(self.extended));
        items.find(|item| item.0 == PROCESS_START_KEY).and_then(|(_, data)| Bytes(data).u64())
    }
}

/// The extended items of a record: size with header, kind, whether another follows, size of the data. Each
/// is padded to eight bytes.
struct Items<'a>(Bytes<'a>);

impl<'a> Iterator for Items<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.0.take(item_size(self.0.0)?)?;
        let mut item = Bytes(item);
        let (_size, kind, _linkage, size) = (item.u16()?, item.u16()?, item.u16()?, item.u16()?);
        Some((kind, item.take(usize::from(size))?))
    }
}

fn item_size(items: &[u8]) -> Option<usize> {
    Bytes(items).u16().map(usize::from).filter(|&size| size >= 8)
}

/// The length of the chain of items at the start of `data`. `None` when it exceeds `data`.
pub(super) fn chain_length(data: &[u8]) -> Option<usize> {
    let mut length = 0;
    loop {
        let item = data.get(length..)?;
        let linkage = *item.get(4)? & 1;
        length += item_size(item)?;
        if length > data.len() {
            return None;
        }
        if linkage == 0 {
            return Some(length);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One extended item.
    fn item(kind: u16, linked: bool, data: &[u8]) -> Vec<u8> {
        let size = (8 + data.len()).next_multiple_of(8);
        let size16 = |size: usize| u16::try_from(size).expect("a short item").to_le_bytes();
        let head = [size16(size), kind.to_le_bytes(), u16::from(linked).to_le_bytes(), size16(data.len())];
        let mut item = head.concat();
        item.extend(data);
        item.resize(size, 0);
        item
    }

    #[test]
    fn attached_items_are_found() {
        let stack = [0_u64, 0xffff_8000_0000_1000, 0x7ff0].map(u64::to_le_bytes).concat();
        let mut extended = item(STACK_TRACE64, true, &stack);
        extended.extend(item(PROCESS_START_KEY, false, &7_u64.to_le_bytes()));
        let length = extended.len();
        extended.extend([1; 16]);
        assert_eq!(chain_length(&extended), Some(length));
        let record = Record {
            time: 0,
            provider: super::super::guid::TCPIP,
            id: 1001,
            version: 0,
            opcode: 0,
            pid: None,
            tid: None,
            pointer: 8,
            extended: &extended[..length],
            payload: &[],
        };
        assert_eq!(record.stack().collect::<Vec<_>>(), [0xffff_8000_0000_1000, 0x7ff0]);
        assert_eq!(record.start_key(), Some(7));
    }

    #[test]
    fn a_chain_that_leaves_its_record_is_none() {
        assert_eq!(chain_length(&item(1, true, &[])), None);
        assert_eq!(chain_length(&[0; 16]), None, "an item of no size");
        assert_eq!(chain_length(&[]), None);
    }
}
