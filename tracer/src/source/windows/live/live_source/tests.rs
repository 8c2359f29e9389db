//! The live source on a scripted Windows.

use super::*;
use crate::event::{Clock, OwnerId, PortRange, Protocol, SocketState};
use crate::source::windows::guid::{self, Guid};
use crate::source::windows::inventory::{Row, RowState};
use crate::source::windows::live::extended_items;
use crate::source::windows::live::queue::Batch;
use crate::source::windows::live::session_error::ended_by_others;
use crate::source::windows::model::Drivers;
use std::collections::{BTreeMap, VecDeque};
use std::mem::take;
use std::net::{Ipv4Addr, SocketAddr};

const BOOT: u64 = 134_000_000_000_000_000;
const SECOND_NS: u64 = 1_000_000_000;
/// When the trace begins, in seconds since boot.
const START: f64 = 1_000.0;
const PID: u32 = 4_711;
/// A thread of that process, and the one that probes.
const TID: u32 = 8;
const PROBER: u32 = 12;
const PORT: u16 = 50_000;

#[derive(Debug, Default)]
struct Script {
    now_ns: u64,
    incoming: Batch,
    /// What arrives when the session is ended.
    last: Batch,
    lost: Option<u64>,
    dropped: u64,
    ended: bool,
    rows: Vec<Row>,
    settings: Settings,
    requested: Vec<Inquiry>,
    answers: VecDeque<Result<Answer, SourceError>>,
    /// Inquiries are accepted and never answered.
    hangs: bool,
    waited: Duration,
    stopped: bool,
}

impl Script {
    /// How often an inquiry was requested.
    fn count(&self, inquiry: Inquiry) -> usize {
        self.requested.iter().filter(|requested| **requested == inquiry).count()
    }
}

impl System for Script {
    fn read(&mut self, visit: &mut dyn FnMut(&Record<'_>)) -> Result<(), SourceError> {
        take(&mut self.incoming).records().for_each(|record| visit(&record));
        if self.ended { Err(ended_by_others("portleak", 0)) } else { Ok(()) }
    }

    async fn ready(&mut self) {}

    fn now_ns(&self) -> u64 {
        self.now_ns
    }

    fn dropped(&self) -> u64 {
        self.dropped
    }

    fn request(&mut self, inquiry: Inquiry) -> bool {
        self.requested.push(inquiry);
        let at_ns = self.now_ns;
        let answer = match inquiry {
            Inquiry::Losses => Answer::Losses(self.lost),
            Inquiry::Sockets => {
                Answer::Sockets(SocketList { at_ns, done_ns: at_ns, rows: self.rows.clone() })
            }
            Inquiry::Drivers => Answer::Drivers(Drivers::default()),
            Inquiry::Settings => Answer::Settings(self.settings.clone()),
        };
        if !self.hangs {
            self.answers.push_back(Ok(answer));
        }
        true
    }

    fn poll(&mut self, _now_ns: u64) -> Option<Result<Answer, SourceError>> {
        self.answers.pop_front()
    }

    fn wait(&mut self, timeout: Duration) {
        self.waited += timeout;
    }

    fn stop(&mut self) -> Option<u64> {
        self.stopped = true;
        self.ended = false;
        self.incoming = take(&mut self.last);
        self.lost
    }
}

fn ns(second: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a test's seconds")]
    let after_ns = ((START + second) * 1e9) as u64;
    after_ns
}

fn start() -> Start {
    let capture = Capture {
        platform: "windows".to_owned(),
        kernel: "10.0.26100".to_owned(),
        hooks: Vec::new(),
        degraded: Vec::new(),
        clock: Clock { monotonic_ns: 0, unix_ns: 0 },
        ticks_per_s: 10_000_000,
        pools: BTreeMap::new(),
    };
    Start {
        header: Header::of_session((10, 0, 26_100), 0, BOOT, BOOT + ns(0.0) / 100),
        background: Background { has_tcpip: true, ..Background::default() },
        capture,
        list: Some(SocketList { at_ns: ns(0.0), done_ns: ns(0.0), rows: Vec::new() }),
        prober: Some(PROBER),
        room: 1 << 20,
    }
}

fn source() -> SessionSource<Script> {
    source_with(start())
}

fn source_with(start: Start) -> SessionSource<Script> {
    SessionSource::new(Script { now_ns: ns(0.0), lost: Some(0), ..Script::default() }, start)
}

/// What a drain at `second` emits.
fn emitted(source: &mut SessionSource<Script>, second: f64) -> Vec<EventKind> {
    source.system.now_ns = ns(second);
    let mut events = Vec::new();
    source.drain(&mut events).unwrap();
    events.into_iter().map(|event| event.kind).collect()
}

/// The ports that were acquired, and whose they are.
fn acquired(kinds: &[EventKind]) -> Vec<(u16, u32)> {
    let acquired = kinds.iter().filter_map(|kind| match kind {
        EventKind::Acquired(acquired) => Some(acquired),
        _ => None,
    });
    let pid = |owner: &OwnerId| if let OwnerId::Process(id) = owner { id.pid } else { 0 };
    acquired.map(|acquired| (acquired.port.unwrap_or(0), pid(&acquired.owner))).collect()
}

fn lost(kinds: &[EventKind]) -> Vec<(u64, LossStage)> {
    let lost = kinds.iter().filter_map(|kind| match *kind {
        EventKind::Lost { count, stage } => Some((count, stage)),
        _ => None,
    });
    lost.collect()
}

/// A record that was written at `second`.
fn push(to: &mut Batch, second: f64, (provider, id, version): (Guid, u16, u8), tid: u32, payload: &[u8]) {
    push_with(to, second, (provider, id, version), tid, (&[], payload));
}

fn push_with(
    to: &mut Batch,
    second: f64,
    (provider, id, version): (Guid, u16, u8),
    tid: u32,
    (extended, payload): (&[u8], &[u8]),
) {
    to.push(&Record {
        time: BOOT + ns(second) / 100,
        provider,
        id,
        version,
        opcode: 0,
        pid: Some(PID),
        tid: Some(tid),
        pointer: 8,
        extended,
        payload,
    });
}

const ENDPOINT: u64 = 0xffff_8d00_0000_1000;

/// 1001: an endpoint is created.
fn created() -> Vec<u8> {
    [&0_u32.to_le_bytes()[..], &ENDPOINT.to_le_bytes(), &2_u32.to_le_bytes(), &PID.to_le_bytes()].concat()
}

/// 1191: it acquires a port, which is written as `port`.
fn acquires(port: u16) -> Vec<u8> {
    [&ENDPOINT.to_le_bytes()[..], &port.to_le_bytes(), &[0; 4], &[0; 8]].concat()
}

/// 1008: it is bound.
fn bound(port: u16) -> Vec<u8> {
    let address = [&2_u16.to_le_bytes()[..], &port.to_be_bytes(), &[127, 0, 0, 1], &[0; 8]].concat();
    [&16_u32.to_le_bytes()[..], &address, &[0; 4]].concat()
}

/// A socket is created and bound at `second`, and 1191 writes its port as `written`.
fn bind(to: &mut Batch, second: f64, tid: u32, written: u16) {
    push(to, second, (guid::TCPIP, 1001, 0), tid, &created());
    push(to, second, (guid::TCPIP, 1191, 0), tid, &acquires(written));
}

fn finish_bind(to: &mut Batch, second: f64, tid: u32, port: u16) {
    push(to, second, (guid::TCPIP, 1008, 0), tid, &bound(port));
}

fn row() -> Row {
    Row {
        protocol: Protocol::Tcp,
        local: SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT)),
        remote: None,
        state: RowState::Held(SocketState::Bound),
        pid: PID,
    }
}

/// The order of the bytes of a port is known.
fn with_byte_order() -> SessionSource<Script> {
    let mut source = source();
    bind(&mut source.system.incoming, 0.01, PROBER, PORT);
    finish_bind(&mut source.system.incoming, 0.02, PROBER, PORT);
    assert_eq!(emitted(&mut source, 0.05), [], "our own sockets are not emitted");
    source
}

#[test]
fn records_wait_until_the_byte_order_is_known() {
    let mut source = source();
    bind(&mut source.system.incoming, 0.1, TID, PORT.swap_bytes());
    assert_eq!(emitted(&mut source, 0.2), []);
    finish_bind(&mut source.system.incoming, 0.1, TID, PORT);
    assert_eq!(acquired(&emitted(&mut source, 0.3)), [(PORT, PID)]);
}

#[test]
fn our_own_sockets_show_the_byte_order_and_are_not_emitted() {
    let mut source = source();
    bind(&mut source.system.incoming, 0.01, PROBER, PORT.swap_bytes());
    bind(&mut source.system.incoming, 0.02, TID, (PORT + 1).swap_bytes());
    finish_bind(&mut source.system.incoming, 0.03, PROBER, PORT);
    assert_eq!(acquired(&emitted(&mut source, 0.05)), [(PORT + 1, PID)]);
}

#[test]
fn the_wait_for_the_byte_order_is_limited() {
    let mut source = source();
    bind(&mut source.system.incoming, 0.1, TID, PORT);
    assert_eq!(emitted(&mut source, 1.4), []);
    assert_eq!(acquired(&emitted(&mut source, 1.5)), [(PORT, PID)], "as the machine writes numbers");
    finish_bind(&mut source.system.incoming, 1.6, TID, PORT);
    bind(&mut source.system.incoming, 1.7, TID + 4, PORT + 1);
    assert_eq!(acquired(&emitted(&mut source, 1.8)), [(PORT + 1, PID)]);
}

#[test]
fn a_wrong_byte_order_is_corrected_by_a_list() {
    let mut source = source();
    source.system.rows = vec![row()];
    bind(&mut source.system.incoming, 0.1, TID, PORT.swap_bytes());
    emitted(&mut source, 1.5);
    finish_bind(&mut source.system.incoming, 1.6, TID, PORT);
    bind(&mut source.system.incoming, 1.7, TID + 4, (PORT + 1).swap_bytes());
    assert_eq!(acquired(&emitted(&mut source, 1.8)), [(PORT + 1, PID)]);
    emitted(&mut source, 5.0);
    assert_eq!(source.system.count(Inquiry::Sockets), 1, "the wrong holds are corrected");
}

#[test]
fn the_backlog_is_bounded_and_the_rest_counted() {
    let mut source = source_with(Start { room: 250, ..start() });
    for port in 0..9 {
        push(&mut source.system.incoming, 0.1, (guid::TCPIP, 1191, 0), TID, &acquires(PORT + port));
    }
    let kinds = emitted(&mut source, 1.6);
    let [(dropped, LossStage::Queue)] = lost(&kinds)[..] else { panic!("{kinds:?}") };
    assert_eq!(acquired(&kinds).len() as u64 + dropped, 9);
}

#[test]
fn losses_are_emitted_once() {
    let mut source = with_byte_order();
    source.system.lost = Some(7);
    source.system.dropped = 3;
    assert_eq!(lost(&emitted(&mut source, 0.5)), []);
    assert_eq!(lost(&emitted(&mut source, 1.1)), [(7, LossStage::Etw), (3, LossStage::Queue)]);
    assert_eq!(lost(&emitted(&mut source, 2.2)), []);
    source.system.lost = Some(9);
    assert_eq!(lost(&emitted(&mut source, 3.3)), [(2, LossStage::Etw)]);
}

#[test]
fn loss_records_count_where_the_session_reports_no_sum() {
    let mut source = with_byte_order();
    let lost_event = (guid::LOST_EVENT, 0, 0);
    push(&mut source.system.incoming, 0.5, lost_event, TID, &[]);
    source.system.lost = Some(1);
    assert_eq!(lost(&emitted(&mut source, 1.1)), [(1, LossStage::Etw)], "not twice");
    push(&mut source.system.incoming, 1.5, lost_event, TID, &[]);
    push(&mut source.system.incoming, 1.5, lost_event, TID, &[]);
    source.system.lost = None;
    assert_eq!(lost(&emitted(&mut source, 2.2)), [(2, LossStage::Etw)]);
    source.system.lost = Some(3);
    assert_eq!(lost(&emitted(&mut source, 3.3)), [], "these were emitted");
}

#[test]
fn sockets_are_listed_each_minute_and_soon_after_a_loss() {
    let mut source = with_byte_order();
    for second in [10.0, 30.0, 59.9] {
        emitted(&mut source, second);
    }
    assert_eq!(source.system.count(Inquiry::Sockets), 0);
    emitted(&mut source, 60.0);
    assert_eq!(source.system.count(Inquiry::Sockets), 1);
    source.system.lost = Some(1);
    emitted(&mut source, 61.0);
    emitted(&mut source, 64.0);
    assert_eq!(source.system.count(Inquiry::Sockets), 1, "not at once again");
    emitted(&mut source, 65.0);
    assert_eq!(source.system.count(Inquiry::Sockets), 2);
    emitted(&mut source, 124.9);
    assert_eq!(source.system.count(Inquiry::Sockets), 2);
    emitted(&mut source, 125.0);
    assert_eq!(source.system.count(Inquiry::Sockets), 3);
}

/// A socket is bound at 59.5, Windows lists it at 60, and its records come at 60.8.
#[test]
fn a_list_waits_for_the_records_from_before() {
    let mut source = with_byte_order();
    source.system.rows = vec![row()];
    assert_eq!(emitted(&mut source, 60.0), []);
    bind(&mut source.system.incoming, 59.5, TID, PORT);
    finish_bind(&mut source.system.incoming, 59.5, TID, PORT);
    assert_eq!(acquired(&emitted(&mut source, 60.8)), [(PORT, PID)]);
    push(&mut source.system.incoming, 61.0, (guid::TCPIP, 1008, 0), TID, &bound(1));
    assert_eq!(emitted(&mut source, 61.1), [], "the list agrees");
    assert_eq!(emitted(&mut source, 70.0), []);
}

#[test]
fn a_list_corrects_what_was_missed() {
    let mut source = with_byte_order();
    source.system.rows = vec![row()];
    assert_eq!(emitted(&mut source, 60.0), []);
    assert_eq!(emitted(&mut source, 62.4), [], "records may still come");
    let kinds = emitted(&mut source, 62.5);
    assert_eq!(acquired(&kinds), [(PORT, PID)]);
    assert!(kinds.contains(&EventKind::Corrected { count: 1 }), "{kinds:?}");
}

#[test]
fn open_sockets_are_emitted_first() {
    let list = SocketList { at_ns: ns(0.0), done_ns: ns(0.1), rows: vec![row()] };
    let mut source = source_with(Start { list: Some(list), prober: None, ..start() });
    bind(&mut source.system.incoming, 0.2, TID, PORT + 1);
    finish_bind(&mut source.system.incoming, 0.2, TID, PORT + 1);
    assert_eq!(acquired(&emitted(&mut source, 0.3)), [(PORT, PID), (PORT + 1, PID)]);
}

#[test]
fn an_unknown_address_lists_the_drivers_but_not_again_at_once() {
    let mut source = with_byte_order();
    let mut strange = |second: f64, address: u64| {
        let stack = [0, address].map(u64::to_le_bytes).concat();
        let mut extended = Vec::new();
        extended_items::write([(6, &stack[..])].into_iter(), &mut extended);
        let data = (&extended[..], &created()[..]);
        push_with(&mut source.system.incoming, second, (guid::TCPIP, 1001, 0), TID, data);
        emitted(&mut source, second);
        source.system.count(Inquiry::Drivers)
    };
    assert_eq!(strange(9.0, 0xffff_f800_0000_1000), 0);
    assert_eq!(strange(11.0, 0xffff_f800_0000_2000), 1);
    assert_eq!(strange(12.0, 0xffff_f800_0100_0000), 1);
    assert_eq!(strange(22.0, 0xffff_f800_0200_0000), 2);
}

#[test]
fn the_end_delivers_the_last_records() {
    let mut source = source();
    bind(&mut source.system.incoming, 0.1, TID, PORT);
    assert_eq!(emitted(&mut source, 0.2), []);
    push(&mut source.system.last, 0.3, (guid::TCPIP, 1193, 0), TID, &acquires(PORT));
    source.system.lost = Some(2);
    let mut events = Vec::new();
    source.stop(&mut events).unwrap();
    assert!(source.system.stopped);
    let kinds: Vec<EventKind> = events.into_iter().map(|event| event.kind).collect();
    assert_eq!(acquired(&kinds), [(PORT, PID)]);
    assert!(kinds.iter().any(|kind| matches!(kind, EventKind::Released { .. })), "{kinds:?}");
    assert_eq!(lost(&kinds), [(2, LossStage::Etw)]);
}

#[test]
fn losses_at_the_end_are_corrected_by_a_last_list() {
    for lost in [0, 5] {
        let mut source = with_byte_order();
        bind(&mut source.system.incoming, 0.1, TID, PORT);
        emitted(&mut source, 0.2);
        // Windows lists another socket, and ours no more.
        source.system.rows =
            vec![Row { local: SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT + 1)), ..row() }];
        source.system.lost = Some(lost);
        source.system.now_ns = ns(3.0);
        let mut events = Vec::new();
        source.stop(&mut events).unwrap();
        let released = events.iter().any(|event| matches!(event.kind, EventKind::Released { .. }));
        assert_eq!(
            (source.system.count(Inquiry::Sockets), released),
            (usize::from(lost > 0), lost > 0),
            "{events:?}"
        );
    }
}

#[test]
fn a_session_that_others_end_is_read_to_its_last_record() {
    let mut source = with_byte_order();
    bind(&mut source.system.incoming, 0.5, TID, PORT);
    source.system.ended = true;
    source.system.now_ns = ns(0.6);
    let mut events = Vec::new();
    let error = source.drain(&mut events).unwrap_err();
    assert!(error.remedy.contains("trace again"), "{error}");
    assert!(events.iter().any(|event| matches!(event.kind, EventKind::Acquired(_))));
    source.stop(&mut events).unwrap();
}

#[test]
fn times_are_since_boot() {
    let mut source = with_byte_order();
    bind(&mut source.system.incoming, 0.25, TID, PORT);
    source.system.now_ns = ns(0.6);
    let mut events = Vec::new();
    source.drain(&mut events).unwrap();
    assert!(events.iter().all(|event| event.at_ns == 1_000 * SECOND_NS + SECOND_NS / 4), "{events:?}");
}

#[test]
fn settings_are_read_again_every_five_minutes() {
    let mut source = source();
    emitted(&mut source, 299.0);
    assert_eq!(source.system.count(Inquiry::Settings), 0);
    let range = PortRange { low: 10_000, high: 20_000, reserved: 0 };
    let pool = crate::source::windows::model::pool(Protocol::Tcp);
    source.system.settings.ranges.pools = [(pool, range)].into();
    let kinds = emitted(&mut source, 301.0);
    assert_eq!(source.system.count(Inquiry::Settings), 1);
    assert!(kinds.contains(&EventKind::Pool { pool, range }), "{kinds:?}");
    assert_eq!(emitted(&mut source, 303.0), [], "once");
    assert_eq!(source.system.count(Inquiry::Settings), 1);
}

/// Windows answers nothing any more: records are still read, and nothing waits but the end.
#[test]
fn an_inquiry_that_hangs_stops_nothing() {
    let mut source = with_byte_order();
    source.system.hangs = true;
    emitted(&mut source, 60.0);
    assert_eq!(source.system.count(Inquiry::Sockets), 1);
    bind(&mut source.system.incoming, 60.5, TID, PORT);
    assert_eq!(acquired(&emitted(&mut source, 61.0)), [(PORT, PID)]);
    emitted(&mut source, 180.0);
    assert_eq!(source.system.count(Inquiry::Sockets), 1, "not again while one is pending");
    assert_eq!(source.system.waited, Duration::ZERO);
    source.stop(&mut Vec::new()).unwrap();
    assert_eq!(source.system.waited, LAST_LIST_MAX);
}

#[test]
fn a_list_that_missed_its_deadline_is_requested_again() {
    let mut source = with_byte_order();
    source.system.hangs = true;
    emitted(&mut source, 60.0);
    let missed = SourceError { what: "too late".to_owned(), remedy: String::new() };
    source.system.answers.push_back(Err(missed));
    (source.system.hangs, source.system.rows) = (false, vec![row()]);
    emitted(&mut source, 65.0);
    emitted(&mut source, 120.0);
    assert_eq!(source.system.count(Inquiry::Sockets), 2);
    assert_eq!(acquired(&emitted(&mut source, 123.0)), [(PORT, PID)]);
}

/// A list that arrives after younger records does not bring back what has ended since.
#[test]
fn a_late_list_revives_nothing() {
    let mut source = with_byte_order();
    bind(&mut source.system.incoming, 10.0, TID, PORT);
    emitted(&mut source, 11.0);
    source.system.hangs = true;
    emitted(&mut source, 60.0);
    push(&mut source.system.incoming, 60.5, (guid::TCPIP, 1193, 0), TID, &acquires(PORT));
    emitted(&mut source, 61.0);
    let list = SocketList { at_ns: ns(60.0), done_ns: ns(60.1), rows: vec![row()] };
    source.system.answers.push_back(Ok(Answer::Sockets(list)));
    assert_eq!(emitted(&mut source, 62.0), []);
    assert_eq!(emitted(&mut source, 63.0), []);
}
