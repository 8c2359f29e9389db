//! One record of any provider, id and version, with any payload and any attached items.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portleak::source::windows::decoded_event;
use portleak::source::windows::guid;
use portleak::source::windows::record::Record;

const PROVIDERS: [guid::Guid; 9] = [
    guid::TCPIP,
    guid::AFD,
    guid::KERNEL_PROCESS,
    guid::LOST_EVENT,
    guid::MOF_TCP,
    guid::MOF_UDP,
    guid::MOF_PROCESS,
    guid::MOF_IMAGE,
    guid::MOF_CONFIG,
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
    let _ = (decoded_event::decode(&record), record.start_key(), record.stack().count());
});
