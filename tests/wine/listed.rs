//! What a machine lists of its sockets while a trace is made: the connections of the trace.

use portleak::source::windows::etl::Reader;
use portleak::source::windows::guid;
use portleak::source::windows::record::Record;
use portleak_tests::plan::Socket;
use std::collections::BTreeMap;
use std::io::Cursor;

/// `MIB_TCP_STATE_ESTAB`, `MIB_TCP_STATE_TIME_WAIT` (tcpmib.h).
pub(crate) const ESTABLISHED: u32 = 5;
pub(crate) const TIME_WAIT: u32 = 11;

/// The connections, from the moment when one gets hold of its socket's port until the socket lets it go.
/// Sockets that are only bound are not: what lists them is not played.
pub(crate) fn connections(trace: &[u8]) -> Vec<Socket> {
    let mut reader = Reader::open(Cursor::new(trace), |_, _, _| {}).expect("a trace");
    let start_ns = reader.header().start_ns();
    let mut connected: BTreeMap<u64, Socket> = BTreeMap::new();
    let mut closed = Vec::new();
    let done = reader.read(usize::MAX, |_, at_ns, record| {
        if record.provider != guid::TCPIP {
            return;
        }
        let at_s = (at_ns - start_ns) as f64 / 1e9;
        match record.id {
            1192 => {
                let (_, port, endpoint) = reference(record);
                let pid = record.pid.expect("the thread that connects");
                let until_s = f64::MAX;
                let socket = Socket { udp: false, pid, port, state: ESTABLISHED, from_s: at_s, until_s };
                connected.insert(endpoint, socket);
            }
            1193 => {
                let (holder, _, _) = reference(record);
                closed.extend(connected.remove(&holder).map(|socket| Socket { until_s: at_s, ..socket }));
            }
            _ => {}
        }
    });
    done.expect("a whole trace");
    closed.extend(connected.into_values());
    closed
}

/// Who refers to a port, the port, and whose it was before.
fn reference(record: &Record<'_>) -> (u64, u16, u64) {
    let (holder, rest) = record.payload.split_first_chunk().expect("a whole payload");
    let (port, rest) = rest.split_first_chunk().expect("a whole payload");
    let before = rest[4..].first_chunk().expect("a whole payload");
    (u64::from_le_bytes(*holder), u16::from_le_bytes(*port), u64::from_le_bytes(*before))
}
