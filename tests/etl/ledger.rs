//! What a stream of events says is held, kept without the engine and with nothing forgiven.

use portleak::event::{Event, EventKind, HoldId, OwnerId, Protocol, SocketState};
use portleak::source::windows::inventory::{Row, RowState};
use std::collections::BTreeMap;

/// A held port: protocol, port, pid as Windows lists it, whether it is bound and nothing else.
pub(crate) type Entry = (Protocol, u16, u32, bool);

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    holds: BTreeMap<HoldId, Entry>,
    time_waits: BTreeMap<HoldId, u16>,
    /// How many holds were mended.
    pub(crate) corrected: u64,
    /// How many were acquired while the trace ran.
    pub(crate) acquired: u64,
}

impl Ledger {
    pub(crate) fn take(&mut self, events: &mut Vec<Event>) {
        for event in events.drain(..) {
            self.apply(event.kind);
        }
    }

    fn apply(&mut self, kind: EventKind) {
        match kind {
            EventKind::Acquired(acquired) => {
                let port = acquired.port.expect("Windows always knows the port");
                let is_bound = acquired.state == SocketState::Bound;
                let entry = (acquired.pool.protocol, port, pid(&acquired.owner), is_bound);
                assert_eq!(self.holds.insert(acquired.hold, entry), None, "a hold is acquired once");
                self.acquired += u64::from(!acquired.pre_existing);
            }
            EventKind::Released { hold } => {
                self.holds.remove(&hold).expect("what is released was held");
            }
            EventKind::State { hold, state, .. } => {
                self.holds.get_mut(&hold).expect("what changes is held").3 = state == SocketState::Bound;
            }
            EventKind::Moved { hold, owner } => {
                self.holds.get_mut(&hold).expect("what moves is held").2 = pid(&owner);
            }
            EventKind::TimeWaitBegan { hold } => {
                let port = self.holds.get(&hold).expect("it was held until now").1;
                assert_eq!(self.time_waits.insert(hold, port), None, "it is in TIME_WAIT once");
            }
            EventKind::TimeWaitFound(found) => {
                assert_eq!(self.time_waits.insert(found.hold, 0), None, "it is found once");
            }
            EventKind::TimeWaitEnded { hold } => {
                self.time_waits.remove(&hold).expect("what ends has begun");
            }
            EventKind::Corrected { count } => self.corrected += count,
            _ => {}
        }
    }

    pub(crate) fn holds(&self) -> Vec<Entry> {
        let mut holds: Vec<_> = self.holds.values().copied().collect();
        holds.sort_unstable();
        holds
    }

    pub(crate) fn time_waits(&self) -> usize {
        self.time_waits.len()
    }
}

/// The same of a list of sockets.
pub(crate) fn listed(rows: &[Row]) -> (Vec<Entry>, usize) {
    let entry = |row: &Row| match row.state {
        RowState::Held(state) => Some((row.protocol, row.local.port(), row.pid, state == SocketState::Bound)),
        RowState::TimeWait => None,
    };
    let mut holds: Vec<_> = rows.iter().filter_map(entry).collect();
    holds.sort_unstable();
    (holds, rows.iter().filter(|row| row.state == RowState::TimeWait).count())
}

fn pid(owner: &OwnerId) -> u32 {
    match owner {
        OwnerId::Process(id) => id.pid,
        OwnerId::System { .. } => 4,
        OwnerId::Unowned | OwnerId::Program(_) | OwnerId::Others(_) => 0,
    }
}
