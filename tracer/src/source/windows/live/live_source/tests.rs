//! A scripted Windows beneath the feed, and what it makes of it.

use super::*;
use crate::event::{Clock, OwnerId, Protocol, SocketState};
use crate::source::windows::guid::{self, Guid};
use crate::source::windows::inventory::RowState;
use crate::source::windows::live::extended_items;
use crate::source::windows::live::queue::Batch;
use crate::source::windows::live::session_error::ended_by_others;
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
    /// What comes when the session is ended.
    last: Batch,
    losses: Losses,
    ended: bool,
    rows: Vec<Row>,
    listed: u32,
    flushed: u32,
    drivers: u32,
    asked_settings: u32,
    settings: Option<Settings>,
    stopped: bool,
}

impl System for Script {
    fn take(&mut self, visit: &mut dyn FnMut(&Record<'_>)) -> Result<(), SourceError> {
        take(&mut self.incoming).records().for_each(|record| visit(&record));
        if self.ended { Err(ended_by_others("portleak", 0)) } else { Ok(()) }
    }

    async fn ready(&mut self) {}

    fn now_ns(&self) -> u64 {
        self.now_ns
    }

    fn losses(&mut self) -> Losses {
        self.losses
    }

    fn flush(&mut self) {
        self.flushed += 1;
    }

    fn sockets(&mut self) -> Result<Vec<Row>, SourceError> {
        self.listed += 1;
        Ok(self.rows.clone())
    }

    fn drivers(&mut self) -> Result<Drivers, SourceError> {
        self.drivers += 1;
        Ok(Drivers::default())
    }

    fn ask_settings(&mut self) {
        self.asked_settings += 1;
    }

    fn take_settings(&mut self) -> Option<Settings> {
        self.settings.take()
    }

    fn stop(&mut self) {
        self.stopped = true;
        self.ended = false;
        self.incoming = take(&mut self.last);
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

fn feed() -> SessionSource<Script> {
    feed_with(start())
}

fn feed_with(start: Start) -> SessionSource<Script> {
    let losses = Losses { etw: Some(0), queue: 0 };
    SessionSource::new(Script { now_ns: ns(0.0), losses, ..Script::default() }, start)
}

/// What was told by `second`.
fn told(feed: &mut SessionSource<Script>, second: f64) -> Vec<EventKind> {
    feed.system.now_ns = ns(second);
    let mut events = Vec::new();
    feed.drain(&mut events).unwrap();
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
fn settled() -> SessionSource<Script> {
    let mut feed = feed();
    bind(&mut feed.system.incoming, 0.01, PROBER, PORT);
    finish_bind(&mut feed.system.incoming, 0.02, PROBER, PORT);
    assert_eq!(told(&mut feed, 0.05), [], "our own sockets are not told");
    feed
}

#[test]
fn records_wait_until_the_order_of_a_port_is_known() {
    let mut feed = feed();
    bind(&mut feed.system.incoming, 0.1, TID, PORT.swap_bytes());
    assert_eq!(told(&mut feed, 0.2), []);
    finish_bind(&mut feed.system.incoming, 0.1, TID, PORT);
    assert_eq!(acquired(&told(&mut feed, 0.3)), [(PORT, PID)]);
}

#[test]
fn our_own_sockets_show_the_order_and_are_not_told() {
    let mut feed = feed();
    bind(&mut feed.system.incoming, 0.01, PROBER, PORT.swap_bytes());
    bind(&mut feed.system.incoming, 0.02, TID, (PORT + 1).swap_bytes());
    finish_bind(&mut feed.system.incoming, 0.03, PROBER, PORT);
    assert_eq!(acquired(&told(&mut feed, 0.05)), [(PORT + 1, PID)]);
}

#[test]
fn they_do_not_wait_for_ever() {
    let mut feed = feed();
    bind(&mut feed.system.incoming, 0.1, TID, PORT);
    assert_eq!(told(&mut feed, 1.4), []);
    assert_eq!(acquired(&told(&mut feed, 1.5)), [(PORT, PID)], "as the machine writes numbers");
    finish_bind(&mut feed.system.incoming, 1.6, TID, PORT);
    bind(&mut feed.system.incoming, 1.7, TID + 4, PORT + 1);
    assert_eq!(acquired(&told(&mut feed, 1.8)), [(PORT + 1, PID)]);
}

#[test]
fn a_wrong_order_is_put_right_when_it_is_found_out() {
    let mut feed = feed();
    feed.system.rows = vec![row()];
    bind(&mut feed.system.incoming, 0.1, TID, PORT.swap_bytes());
    told(&mut feed, 1.5);
    finish_bind(&mut feed.system.incoming, 1.6, TID, PORT);
    bind(&mut feed.system.incoming, 1.7, TID + 4, (PORT + 1).swap_bytes());
    assert_eq!(acquired(&told(&mut feed, 1.8)), [(PORT + 1, PID)]);
    told(&mut feed, 5.0);
    assert_eq!(feed.system.listed, 1, "what is wrong is mended");
}

#[test]
fn what_waits_is_bounded_and_the_rest_counted() {
    let mut feed = feed_with(Start { room: 250, ..start() });
    for port in 0..9 {
        push(&mut feed.system.incoming, 0.1, (guid::TCPIP, 1191, 0), TID, &acquires(PORT + port));
    }
    let kinds = told(&mut feed, 1.6);
    let [(dropped, LossStage::Queue)] = lost(&kinds)[..] else { panic!("{kinds:?}") };
    assert_eq!(acquired(&kinds).len() as u64 + dropped, 9);
}

#[test]
fn losses_are_told_once() {
    let mut feed = settled();
    feed.system.losses = Losses { etw: Some(7), queue: 3 };
    assert_eq!(lost(&told(&mut feed, 0.5)), []);
    assert_eq!(lost(&told(&mut feed, 1.1)), [(7, LossStage::Etw), (3, LossStage::Queue)]);
    assert_eq!(lost(&told(&mut feed, 2.2)), []);
    feed.system.losses.etw = Some(9);
    assert_eq!(lost(&told(&mut feed, 3.3)), [(2, LossStage::Etw)]);
}

#[test]
fn records_of_losses_count_where_the_session_does_not() {
    let mut feed = settled();
    let lost_event = (guid::LOST_EVENT, 0, 0);
    push(&mut feed.system.incoming, 0.5, lost_event, TID, &[]);
    feed.system.losses.etw = Some(1);
    assert_eq!(lost(&told(&mut feed, 1.1)), [(1, LossStage::Etw)], "not twice");
    push(&mut feed.system.incoming, 1.5, lost_event, TID, &[]);
    push(&mut feed.system.incoming, 1.5, lost_event, TID, &[]);
    feed.system.losses.etw = None;
    assert_eq!(lost(&told(&mut feed, 2.2)), [(2, LossStage::Etw)]);
    feed.system.losses.etw = Some(3);
    assert_eq!(lost(&told(&mut feed, 3.3)), [], "these have been told");
}

#[test]
fn sockets_are_listed_each_minute_and_soon_after_a_loss() {
    let mut feed = settled();
    for second in [10.0, 30.0, 59.9] {
        told(&mut feed, second);
    }
    assert_eq!(feed.system.listed, 0);
    told(&mut feed, 60.0);
    assert_eq!((feed.system.listed, feed.system.flushed), (1, 1));
    feed.system.losses.etw = Some(1);
    told(&mut feed, 61.0);
    told(&mut feed, 64.0);
    assert_eq!(feed.system.listed, 1, "not at once again");
    told(&mut feed, 65.0);
    assert_eq!(feed.system.listed, 2);
    told(&mut feed, 124.9);
    assert_eq!(feed.system.listed, 2);
    told(&mut feed, 125.0);
    assert_eq!(feed.system.listed, 3);
}

/// A socket is bound at 59.5, Windows lists it at 60, and its records come at 60.8.
#[test]
fn a_list_waits_for_the_records_from_before() {
    let mut feed = settled();
    feed.system.rows = vec![row()];
    assert_eq!(told(&mut feed, 60.0), []);
    bind(&mut feed.system.incoming, 59.5, TID, PORT);
    finish_bind(&mut feed.system.incoming, 59.5, TID, PORT);
    assert_eq!(acquired(&told(&mut feed, 60.8)), [(PORT, PID)]);
    push(&mut feed.system.incoming, 61.0, (guid::TCPIP, 1008, 0), TID, &bound(1));
    assert_eq!(told(&mut feed, 61.1), [], "the list agrees");
    assert_eq!(told(&mut feed, 70.0), []);
}

#[test]
fn a_list_mends_what_is_missed() {
    let mut feed = settled();
    feed.system.rows = vec![row()];
    assert_eq!(told(&mut feed, 60.0), []);
    assert_eq!(told(&mut feed, 62.4), [], "records may still come");
    let kinds = told(&mut feed, 62.5);
    assert_eq!(acquired(&kinds), [(PORT, PID)]);
    assert!(kinds.contains(&EventKind::Corrected { count: 1 }), "{kinds:?}");
}

#[test]
fn what_was_there_is_told_first() {
    let list = SocketList { at_ns: ns(0.0), done_ns: ns(0.1), rows: vec![row()] };
    let mut feed = feed_with(Start { list: Some(list), prober: None, ..start() });
    bind(&mut feed.system.incoming, 0.2, TID, PORT + 1);
    finish_bind(&mut feed.system.incoming, 0.2, TID, PORT + 1);
    assert_eq!(acquired(&told(&mut feed, 0.3)), [(PORT, PID), (PORT + 1, PID)]);
}

#[test]
fn an_unknown_driver_has_the_drivers_listed_but_not_at_once_again() {
    let mut feed = settled();
    let mut strange = |second: f64, address: u64| {
        let stack = [0, address].map(u64::to_le_bytes).concat();
        let mut extended = Vec::new();
        extended_items::write([(6, &stack[..])].into_iter(), &mut extended);
        let data = (&extended[..], &created()[..]);
        push_with(&mut feed.system.incoming, second, (guid::TCPIP, 1001, 0), TID, data);
        told(&mut feed, second);
        feed.system.drivers
    };
    assert_eq!(strange(9.0, 0xffff_f800_0000_1000), 0);
    assert_eq!(strange(11.0, 0xffff_f800_0000_2000), 1);
    assert_eq!(strange(12.0, 0xffff_f800_0100_0000), 1);
    assert_eq!(strange(22.0, 0xffff_f800_0200_0000), 2);
}

#[test]
fn the_end_brings_what_was_on_its_way() {
    let mut feed = feed();
    bind(&mut feed.system.incoming, 0.1, TID, PORT);
    assert_eq!(told(&mut feed, 0.2), []);
    push(&mut feed.system.last, 0.3, (guid::TCPIP, 1193, 0), TID, &acquires(PORT));
    feed.system.losses.etw = Some(2);
    let mut events = Vec::new();
    feed.stop(&mut events).unwrap();
    assert!(feed.system.stopped);
    let kinds: Vec<EventKind> = events.into_iter().map(|event| event.kind).collect();
    assert_eq!(acquired(&kinds), [(PORT, PID)]);
    assert!(kinds.iter().any(|kind| matches!(kind, EventKind::Released { .. })), "{kinds:?}");
    assert_eq!(lost(&kinds), [(2, LossStage::Etw)]);
}

#[test]
fn what_was_lost_in_the_end_is_mended_in_the_end() {
    for lost in [0, 5] {
        let mut feed = settled();
        bind(&mut feed.system.incoming, 0.1, TID, PORT);
        told(&mut feed, 0.2);
        // Windows lists another socket, and ours no more.
        feed.system.rows = vec![Row { local: SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT + 1)), ..row() }];
        feed.system.losses.etw = Some(lost);
        feed.system.now_ns = ns(3.0);
        let mut events = Vec::new();
        feed.stop(&mut events).unwrap();
        let released = events.iter().any(|event| matches!(event.kind, EventKind::Released { .. }));
        assert_eq!((feed.system.listed, released), (u32::from(lost > 0), lost > 0), "{events:?}");
    }
}

#[test]
fn a_session_that_others_end_is_told_to_its_last_record() {
    let mut feed = settled();
    bind(&mut feed.system.incoming, 0.5, TID, PORT);
    feed.system.ended = true;
    feed.system.now_ns = ns(0.6);
    let mut events = Vec::new();
    let error = feed.drain(&mut events).unwrap_err();
    assert!(error.remedy.contains("trace again"), "{error}");
    assert!(events.iter().any(|event| matches!(event.kind, EventKind::Acquired(_))));
    feed.stop(&mut events).unwrap();
}

#[test]
fn times_are_since_boot() {
    let mut feed = settled();
    bind(&mut feed.system.incoming, 0.25, TID, PORT);
    feed.system.now_ns = ns(0.6);
    let mut events = Vec::new();
    feed.drain(&mut events).unwrap();
    assert!(events.iter().all(|event| event.at_ns == 1_000 * SECOND_NS + SECOND_NS / 4), "{events:?}");
}

#[test]
fn settings_are_asked_for_again_and_their_answer_awaited() {
    let mut feed = feed();
    told(&mut feed, 299.0);
    assert_eq!(feed.system.asked_settings, 0);
    told(&mut feed, 301.0);
    assert_eq!(feed.system.asked_settings, 1);
    let range = PortRange { low: 10_000, high: 20_000, reserved: 0 };
    let pool = crate::source::windows::model::pool(Protocol::Tcp);
    let ranges = BTreeMap::from([(pool, range)]);
    feed.system.settings = Some(Settings { services: None, ranges });
    let kinds = told(&mut feed, 302.0);
    assert!(kinds.contains(&EventKind::Pool { pool, range }), "{kinds:?}");
    assert_eq!(told(&mut feed, 303.0), [], "once");
    assert_eq!(feed.system.asked_settings, 1);
}
