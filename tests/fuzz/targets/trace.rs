//! An event trace, whatever is in it, read through the model.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::io::Cursor;
use portleak::source::windows::etl::Reader;
use portleak::source::windows::model::{Background, Model};

fuzz_target!(|file: &[u8]| {
    let Ok(mut reader) = Reader::open(Cursor::new(file), |_, _, _| {}) else {
        return;
    };
    let background = Background { has_tcpip: true, ..Background::default() };
    let mut model = Model::new(reader.header(), &background);
    let mut events = Vec::new();
    while let Ok(true) = reader.read(64, |header, at_ns, record| {
        model.apply(header, at_ns, record, &mut events);
    }) {
        events.clear();
    }
});
