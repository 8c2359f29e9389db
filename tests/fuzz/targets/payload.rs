//! One record of any provider, id and version, with any payload and any attached items.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portleak::source::windows::fact;
use portleak::source::windows::guid;
use portleak::source::windows::record::Record;

const PROVIDERS: [guid::Guid; 9] = [
    guid::TCPIP,
    guid::AFD,
    guid::KERNEL_PROCESS,
    guid::LOST_EVENT,
    guid::CLASSIC_TCP,
    guid::CLASSIC_UDP,
    guid::CLASSIC_PROCESS,
    guid::CLASSIC_IMAGE,
    guid::CLASSIC_CONFIG,
];

fuzz_target!(|bytes: &[u8]| {
    let Some((&[provider, low, high, version, opcode, split], rest)) = bytes.split_first_chunk() else {
        return;
    };
    let (extended, payload) = rest.split_at(usize::from(split).min(rest.len()));
    let record = Record {
        time: 0,
        provider: PROVIDERS[usize::from(provider) % PROVIDERS.len()],
        id: u16::from_le_bytes([low, high]),
        version,
        opcode,
        pid: Some(1),
        tid: Some(2),
        pointer: if version & 0x80 == 0 { 8 } else { 4 },
        extended,
        payload,
    };
    let _ = (fact::decode(&record), record.start_key(), record.stack().count());
});
