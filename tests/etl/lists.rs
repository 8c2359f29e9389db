//! What Windows lists beside its events: sockets from before, and what lost events left behind.

use crate::ledger::{Ledger, listed};
use portleak::event::{Protocol, SocketState};
use portleak::source::windows::etl::{Header, Reader};
use portleak::source::windows::guid;
use portleak::source::windows::inventory::{Row, RowState};
use portleak::source::windows::model::{Background, Model};
use portleak::source::windows::record::Record;
use portleak_tests::etl::encode::Release;
use portleak_tests::etl::machine::{Machine, Socket, anywhere};
use portleak_tests::etl::writer::Form;
use proptest::prelude::*;
use std::io::Cursor;

/// What happens to a machine's sockets.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Deed {
    Bind,
    Connect,
    BindUdp,
    /// One of those that are there goes on its way.
    Go(u8),
    /// Another way to go: refused, aborted, never closed.
    Stray(u8),
}

/// A socket as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stands {
    Bound,
    SynSent,
    Connected,
    CloseWait,
    TimeWait,
    Udp,
}

/// A machine with its sockets, and what it lists at each instant: a truth beside the trace.
pub(crate) struct Scripted {
    pub(crate) machine: Machine,
    sockets: Vec<(Socket, Stands)>,
    /// How many records there were, and the list at that instant.
    lists: Vec<(usize, Vec<Row>)>,
}

impl Scripted {
    pub(crate) fn new(release: Release) -> Self {
        let machine = Machine::with(release, Form::default());
        Self { machine, sockets: Vec::new(), lists: Vec::new() }
    }

    pub(crate) fn play(&mut self, deeds: &[Deed]) {
        for (n, &deed) in deeds.iter().enumerate() {
            let pid = [100, 200, 4][n % 3];
            match deed {
                Deed::Bind => {
                    let socket = self.machine.bound(pid);
                    self.sockets.push((socket, Stands::Bound));
                }
                Deed::Connect => {
                    let socket = self.machine.connected(pid);
                    self.sockets.push((socket, Stands::Connected));
                }
                Deed::BindUdp => {
                    let socket = self.machine.udp(pid);
                    self.sockets.push((socket, Stands::Udp));
                }
                Deed::Go(at) | Deed::Stray(at) if !self.sockets.is_empty() => {
                    let at = usize::from(at) % self.sockets.len();
                    let stray = matches!(deed, Deed::Stray(_));
                    self.go(at, stray);
                }
                _ => {}
            }
            self.lists.push((self.machine.written, self.rows()));
        }
    }

    fn go(&mut self, at: usize, stray: bool) {
        let (socket, stands) = self.sockets[at];
        let next = match (stands, stray) {
            (Stands::Bound, false) => {
                self.sockets[at].0 = self.machine.connect_again(socket);
                Some(Stands::SynSent)
            }
            (Stands::Bound, true) => {
                self.machine.close(socket);
                None
            }
            (Stands::SynSent, false) => {
                self.machine.refused(socket);
                Some(Stands::Bound)
            }
            (Stands::SynSent | Stands::Connected, true) => {
                self.machine.abort(socket);
                None
            }
            (Stands::Connected, false) if socket.port % 2 == 0 => {
                self.machine.state(socket, 7);
                Some(Stands::CloseWait)
            }
            (Stands::Connected, false) | (Stands::CloseWait, _) => {
                self.machine.close_to_time_wait(socket);
                Some(Stands::TimeWait)
            }
            (Stands::TimeWait, _) => {
                self.machine.time_wait_ends(socket);
                None
            }
            (Stands::Udp, _) => {
                self.machine.close_udp(socket);
                None
            }
        };
        match next {
            Some(next) => self.sockets[at].1 = next,
            None => _ = self.sockets.remove(at),
        }
    }

    /// The connections that are there, as events.
    fn run_down(&mut self) {
        for &(socket, stands) in &self.sockets {
            let state = match stands {
                Stands::SynSent => 2,
                Stands::Connected => 4,
                Stands::CloseWait => 7,
                Stands::TimeWait => 10,
                Stands::Bound | Stands::Udp => continue,
            };
            self.machine.exists(socket, state);
        }
    }

    pub(crate) fn rows(&self) -> Vec<Row> {
        self.sockets.iter().map(|&(socket, stands)| row(socket, stands)).collect()
    }
}

fn row(socket: Socket, stands: Stands) -> Row {
    let (state, remote) = match stands {
        Stands::Bound | Stands::Udp => (RowState::Held(SocketState::Bound), None),
        Stands::SynSent => (RowState::Held(SocketState::SynSent), Some(socket.remote)),
        Stands::Connected => (RowState::Held(SocketState::Connected), Some(socket.remote)),
        Stands::CloseWait => (RowState::Held(SocketState::CloseWait), Some(socket.remote)),
        Stands::TimeWait => (RowState::TimeWait, Some(socket.remote)),
    };
    let protocol = if stands == Stands::Udp { Protocol::Udp } else { Protocol::Tcp };
    let pid = if stands == Stands::TimeWait { 0 } else { socket.pid };
    Row { protocol, local: anywhere(socket.port), remote, state, pid }
}

/// A list that was begun after so many records, and was told after so many.
#[derive(Clone, Debug)]
struct SocketList {
    begun: usize,
    told: usize,
    rows: Vec<Row>,
}

/// A live session that begins after `from` records and loses those that `is_lost`.
fn session(file: Vec<u8>, from: usize, is_lost: impl Fn(usize) -> bool, lists: &[SocketList]) -> Ledger {
    let mut times = Vec::new();
    let is_told = |record: &Record<'_>| record.provider != guid::TRACE_HEADER;
    let survey = |_: &Header, at_ns, record: &Record<'_>| times.extend(is_told(record).then_some(at_ns));
    let mut reader = Reader::open(Cursor::new(file), survey).expect("a trace");
    times.sort_unstable();
    let background = Background { has_tcpip: true, ..Background::default() };
    let mut model = Model::new(reader.header(), &background);
    let mut ledger = Ledger::default();
    let mut events = Vec::new();
    let list = |model: &mut Model, at: usize, ledger: &mut Ledger| {
        for listing in lists.iter().filter(|listing| listing.told == at) {
            let last_ns = listing
                .begun
                .checked_sub(1)
                .map_or(times.first().map_or(0, |first| first - 2), |last| times[last]);
            let mut events = Vec::new();
            model.resync(last_ns + 1, &listing.rows, &mut events);
            ledger.take(&mut events);
        }
    };
    let mut at = 0;
    list(&mut model, 0, &mut ledger);
    while reader
        .read(1, |header, at_ns, record| {
            if !is_told(record) {
                return;
            }
            if at >= from && !is_lost(at) {
                model.apply(header, at_ns, record, &mut events);
                ledger.take(&mut events);
            }
            at += 1;
            list(&mut model, at, &mut ledger);
        })
        .expect("a whole trace")
    {}
    ledger
}

pub(crate) fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        2 => Just(Deed::Bind),
        2 => Just(Deed::Connect),
        1 => Just(Deed::BindUdp),
        4 => any::<u8>().prop_map(Deed::Go),
        2 => any::<u8>().prop_map(Deed::Stray),
    ]
}

fn at_once((begun, rows): &(usize, Vec<Row>)) -> SocketList {
    SocketList { begun: *begun, told: *begun, rows: rows.clone() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whenever the session begins and whenever it lists, nothing is held but what is; whether the
    /// events that list the connections come before the list, or after.
    #[test]
    fn lists_and_events_agree(
        before in prop::collection::vec(deed(), 0..40),
        deeds in prop::collection::vec(deed(), 1..40),
        again in any::<prop::sample::Index>(),
        is_late in any::<bool>(),
    ) {
        let mut script = Scripted::new(Release::Win11V23H2);
        script.play(&before);
        let begun = script.machine.written;
        script.run_down();
        let listed_at = if is_late { begun } else { script.machine.written };
        let first = SocketList { begun: listed_at, told: listed_at, rows: script.rows() };
        script.lists.clear();
        script.play(&deeds);
        let again = at_once(&script.lists[again.index(script.lists.len())]);
        let truth = listed(&script.rows());
        let ledger = session(script.machine.end(), begun, |_| false, &[first, again]);
        prop_assert_eq!((ledger.holds(), ledger.time_waits()), truth);
        prop_assert_eq!(ledger.corrected, 0);
    }

    /// Events that happen while Windows lists are told before the list is.
    #[test]
    fn what_happens_while_listing_is_not_undone(
        deeds in prop::collection::vec(deed(), 1..60),
        begin in any::<prop::sample::Index>(),
        later in 0..4_usize,
    ) {
        let mut script = Scripted::new(Release::Win11V23H2);
        script.play(&deeds);
        let first = begin.index(script.lists.len());
        let last = (first + later).min(script.lists.len() - 1);
        let told = script.lists[last].0;
        let from_start = SocketList { begun: 0, told: 0, rows: Vec::new() };
        let listing = SocketList { told, ..at_once(&script.lists[first]) };
        let truth = listed(&script.rows());
        let ledger = session(script.machine.end(), 0, |_| false, &[from_start, listing]);
        prop_assert_eq!((ledger.holds(), ledger.time_waits()), truth);
        prop_assert_eq!(ledger.corrected, 0);
    }

    /// Whatever was lost, the next list sets it right.
    #[test]
    fn a_list_mends_what_was_lost(
        deeds in prop::collection::vec(deed(), 1..60),
        lost in prop::collection::vec(prop::bool::weighted(0.3), 600),
    ) {
        let mut script = Scripted::new(Release::Win11V23H2);
        // One that is only bound shows that such sockets are listed.
        script.play(&[Deed::Bind]);
        script.sockets.clear();
        let keep = script.machine.bound(300);
        script.play(&deeds);
        let mut rows = script.rows();
        rows.extend([row(keep, Stands::Bound)]);
        let bound = script.lists[0].1.clone();
        let first = SocketList { begun: script.lists[0].0, told: script.lists[0].0, rows: bound };
        let end = script.machine.written;
        let last = SocketList { begun: end, told: end, rows: rows.clone() };
        let ledger = session(script.machine.end(), 0, |at| lost.get(at) == Some(&true), &[first, last]);
        prop_assert_eq!((ledger.holds(), ledger.time_waits()), listed(&rows));
    }
}

fn bound(pid: u32, local: &str) -> Row {
    let local = local.parse().expect("an address");
    let state = RowState::Held(SocketState::Bound);
    Row { protocol: Protocol::Tcp, local, remote: None, state, pid }
}

fn at(machine: &Machine, rows: &[Row]) -> SocketList {
    SocketList { begun: machine.written, told: machine.written, rows: rows.to_vec() }
}

fn machine() -> Machine {
    Machine::new(Release::Win11V23H2)
}

/// ```text
/// listed with port P   1191 of P, a moment later than the list, for it was written before
/// ```
#[test]
fn what_is_listed_and_acquired_at_once_is_one() {
    let mut machine = machine();
    let first = at(&machine, &[bound(100, "0.0.0.0:49152")]);
    let socket = machine.bound(100);
    let open = session(machine.end(), 0, |_| false, std::slice::from_ref(&first));
    assert_eq!(open.holds(), [(Protocol::Tcp, socket.port, 100, true)]);

    let mut machine = self::machine();
    let socket = machine.bound(100);
    machine.close(socket);
    let closed = session(machine.end(), 0, |_| false, &[first]);
    assert_eq!(closed.holds(), []);
}

#[test]
fn a_hold_goes_to_the_owner_that_is_listed() {
    let mut machine = machine();
    let begun = at(&machine, &[]);
    machine.bound(100);
    let moved = at(&machine, &[bound(200, "0.0.0.0:49152")]);
    let ledger = session(machine.end(), 0, |_| false, &[begun, moved]);
    assert_eq!((ledger.holds(), ledger.corrected), (vec![(Protocol::Tcp, 49_152, 200, true)], 1));
}

/// Each family has its socket, or one socket has both: Windows' tables do not tell.
#[test]
fn a_row_for_both_families_stands_for_one_socket_or_two() {
    let mut machine = machine();
    let begun = at(&machine, &[]);
    let socket = machine.bound(100);
    machine.next_port = socket.port;
    machine.bound(100);
    let once = at(&machine, &[bound(100, "[::]:49152")]);
    let ledger = session(machine.end(), 0, |_| false, &[begun, once]);
    assert_eq!((ledger.holds().len(), ledger.corrected), (2, 0));
}

#[test]
fn connections_that_were_accepted_hold_no_port() {
    let mut machine = machine();
    let listen = Row { state: RowState::Held(SocketState::Listen), ..bound(100, "0.0.0.0:50000") };
    let accepted = Row {
        local: "10.0.0.5:50000".parse().expect("an address"),
        remote: Some("10.0.0.7:1024".parse().expect("an address")),
        state: RowState::Held(SocketState::Connected),
        ..listen.clone()
    };
    let rows = [listen, accepted];
    let first = at(&machine, &rows);
    machine.found(100, 50_000, 4);
    let again = at(&machine, &rows);
    let ledger = session(machine.end(), 0, |_| false, &[first, again]);
    assert_eq!((ledger.holds(), ledger.corrected), (vec![(Protocol::Tcp, 50_000, 100, false)], 0));
}

/// `InternalGetBoundTcpEndpointTable` is not documented, and may be gone one day.
#[test]
fn sockets_that_windows_cannot_list_stay() {
    let mut machine = machine();
    let begun = at(&machine, &[]);
    machine.bound(100);
    let none = at(&machine, &[]);
    let other = machine.bound(200);
    let hidden = session(machine.end(), 0, |_| false, &[begun.clone(), none]);
    assert_eq!((hidden.holds().len(), hidden.corrected), (2, 0));

    let mut machine = self::machine();
    machine.bound(100);
    let shown = machine.bound(200);
    let shown = at(&machine, &[row(shown, Stands::Bound)]);
    let ledger = session(machine.end(), 0, |_| false, &[begun, shown]);
    assert_eq!((ledger.holds(), ledger.corrected), (vec![(Protocol::Tcp, other.port, 200, true)], 1));
}

/// Two sockets of one port: the one whose address the event has is closed.
#[test]
fn of_several_the_one_at_that_address_is_closed() {
    let udp = |pid, local| Row { protocol: Protocol::Udp, ..bound(pid, local) };
    let mut before = machine();
    let socket = before.udp(100);
    let mut machine = machine();
    let first = at(&machine, &[udp(200, "127.0.0.1:49152"), udp(100, "0.0.0.0:49152")]);
    machine.close_udp(socket);
    let ledger = session(machine.end(), 0, |_| false, &[first]);
    assert_eq!(ledger.holds(), [(Protocol::Udp, 49_152, 200, true)]);
}
