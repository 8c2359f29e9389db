//! A file instead of a machine: the same events at the same instants, as fast as they can be
//! judged.

use super::{Desk, TraceError};
use crate::engine::Config;
use crate::engine::report::Summary;
use crate::recording::{Reader, Turn};
use crate::sink::Sink;
use crate::source::Source;
use crate::source::file::broken;
use crate::source::windows::etl::Trace;
use std::io::{Read, Seek};

/// Judges an event trace of Windows by `config`.
///
/// # Errors
/// When the file cannot be read or the output cannot be written.
pub fn trace<R: Read + Seek>(
    trace: &mut Trace<R>,
    config: Config,
    output: &mut dyn Sink,
) -> Result<Summary, TraceError> {
    let mut desk = Desk::new(config, trace.now_ns(), output, None);
    desk.start()?;
    let mut events = Vec::new();
    while !trace.is_over() {
        trace.drain(&mut events)?;
        desk.take(&mut events, trace.now_ns())?;
    }
    Ok(desk.conclude(trace.now_ns())?)
}

/// Judges a recording by `config`.
///
/// # Errors
/// When the file cannot be read or the output cannot be written.
pub fn replay<R: Read + Seek>(
    reader: &mut Reader<R>,
    config: Config,
    output: &mut dyn Sink,
) -> Result<Summary, TraceError> {
    let mut desk = Desk::new(config, reader.header().began_ns, output, None);
    desk.start()?;
    let mut events = Vec::new();
    loop {
        let turn = reader.turn(&mut events).map_err(broken)?;
        desk.apply(&mut events);
        match turn {
            Turn::More => {}
            Turn::Until(now_ns) => desk.advance(now_ns)?,
            Turn::End(now_ns) => return Ok(desk.conclude(now_ns)?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Acquired, Event, EventKind, HoldId, OwnerId, ProcessId, Protocol, SocketState};
    use crate::recording::{Header, Recording};
    use crate::sink::fixtures::{self, Written};
    use crate::sink::json::JsonSink;
    use crate::symbols::Symbols;
    use std::io::{self, Cursor, Write};
    use std::net::Ipv4Addr;
    use std::sync::mpsc;

    /// What is written goes to whoever holds the other end.
    struct Pipe(mpsc::Sender<Vec<u8>>);

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn output(written: &Written) -> JsonSink {
        JsonSink::new(written.writer(), &fixtures::capture(), Symbols::default(), false)
    }

    fn acquired(hold: u64) -> EventKind {
        EventKind::Acquired(Acquired {
            hold: HoldId(hold),
            owner: OwnerId::Process(ProcessId { pid: 7, started_ticks: 7 }),
            pool: fixtures::pool(Protocol::Tcp),
            range: Some(fixtures::range()),
            pre_existing: false,
            local: Ipv4Addr::LOCALHOST.into(),
            port: Some(40_000 + (hold % 10_000) as u16),
            remote: Some((Ipv4Addr::LOCALHOST, 80).into()),
            state: SocketState::Connected,
            site: None,
        })
    }

    /// Twenty a second are taken and few are given back; every seventh event comes after the second
    /// that it belongs to has been judged.
    fn leak(second: u64) -> Vec<Event> {
        let event = |i: u64| {
            let late_s = if i.is_multiple_of(7) { 0.06 } else { 0.0 };
            let at_ns = fixtures::at(second as f64 + i as f64 / 20.0 - late_s);
            let hold = 20 * second + i;
            let kind =
                if i % 5 == 4 { EventKind::Released { hold: HoldId(hold - 3) } } else { acquired(hold) };
            Event { at_ns, kind }
        };
        (0..20).map(event).collect()
    }

    #[test]
    fn a_replay_says_what_was_said_live() {
        let (pipe, file) = mpsc::channel();
        let recording = Recording::new("test", Box::new(Pipe(pipe)), Symbols::default()).unwrap();
        let header = Header {
            tool: String::new(),
            capture: fixtures::capture(),
            config: Config::default(),
            command: Vec::new(),
            buffer_bytes: 0,
            began_ns: 0,
        };
        let live = Written::default();
        let mut output_live = output(&live);
        let mut desk =
            Desk::new(Config::default(), fixtures::at(0.0), &mut output_live, Some((recording, header)));
        desk.start().unwrap();
        for second in 0..60 {
            desk.take(&mut leak(second), fixtures::at(second as f64 + 1.0111)).unwrap();
        }
        desk.finish(&mut Vec::new(), fixtures::at(60.5)).unwrap();

        let mut reader = Reader::open(Cursor::new(file.iter().collect::<Vec<_>>().concat())).unwrap();
        let again = Written::default();
        let config = reader.header().config.clone();
        replay(&mut reader, config, &mut output(&again)).unwrap();
        assert_eq!(again.text(), live.text());
        assert!(live.text().contains("\"verdict\":\"leak\""), "{}", live.text());
    }
}
