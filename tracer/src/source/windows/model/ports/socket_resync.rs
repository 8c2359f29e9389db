//! Holds and the sockets that Windows lists: events name holds that a list has shown, and a list corrects
//! holds.

use super::{Held, Out, Ports, RACE_NS, UNNAMED};
use crate::event::{EventKind, HoldId, SocketState};
use std::net::SocketAddr;

impl Ports {
    /// An endpoint acquired a port that a list has just shown as held: both are the same socket. Returns its
    /// hold.
    pub(in crate::source::windows::model) fn recognise(
        &mut self,
        endpoint: u64,
        port: u16,
        at_ns: u64,
    ) -> Option<HoldId> {
        let is_new = |held: &Held| at_ns <= held.updated_ns.saturating_add(RACE_NS);
        let id = self.find(port, |held| held.strong == Some(UNNAMED) && is_new(held))?;
        self.set_endpoint(id, endpoint);
        Some(id)
    }

    /// Sets `tcb` as the connection between these addresses, if it is known from a list only.
    pub(in crate::source::windows::model) fn recognise_connection(
        &mut self,
        tcb: u64,
        local: SocketAddr,
        remote: SocketAddr,
    ) {
        if self.connections.contains_key(&tcb) {
            return;
        }
        let is_it = |held: &Held| held.remote == Some(remote) && held.weak.contains(&UNNAMED);
        if let Some(id) = self.find(local.port(), is_it) {
            let updated_ns = self.holds.get(&id).map_or(0, |held| held.updated_ns);
            self.attach(id, tcb, updated_ns);
        }
    }

    /// A list shows a hold in this state, connected to `remote`.
    pub(in crate::source::windows::model) fn correct(
        &mut self,
        id: HoldId,
        state: SocketState,
        remote: Option<SocketAddr>,
        out: &mut Out<'_>,
    ) {
        let Some(held) = self.holds.get_mut(&id) else {
            return;
        };
        let port = held.local.port();
        if remote.is_none() {
            let waits = held.time_wait;
            let gone: Vec<_> = held.weak.extract_if(.., |weak| Some(*weak) != waits).collect();
            held.remote = held.remote.filter(|_| waits.is_some());
            for tcb in gone {
                self.holders.remove(&(tcb, port));
                self.connections.remove(&tcb);
            }
        } else if held.weak.is_empty() {
            held.weak.push(UNNAMED);
        }
        // Windows lists a socket in TIME_WAIT that was not closed as bound.
        if held.state != state && held.time_wait.is_none() {
            held.set_state(id, state, remote, out);
        } else if remote.is_some() && held.remote != remote {
            held.set_state(id, held.state, remote, out);
        }
    }

    /// A list shows a hold's connection in TIME_WAIT. `is_open`: it shows the socket too.
    pub(in crate::source::windows::model) fn correct_time_wait(
        &mut self,
        id: HoldId,
        is_open: bool,
        out: &mut Out<'_>,
    ) {
        let Some(held) = self.holds.get_mut(&id) else {
            return;
        };
        let tcb = held.time_wait.or(held.weak.first().copied()).unwrap_or(UNNAMED);
        if held.weak.is_empty() {
            held.weak.push(tcb);
        }
        let port = held.local.port();
        if !is_open && let Some(endpoint) = held.strong.take() {
            self.holders.remove(&(endpoint, port));
        }
        self.begin_time_wait_as(id, tcb, out);
        self.settle(id, out);
    }

    /// A list no longer shows a hold's TIME_WAIT.
    pub(in crate::source::windows::model) fn end_time_wait(&mut self, id: HoldId, out: &mut Out<'_>) {
        if let Some(tcb) = self.holds.get(&id).and_then(|held| held.time_wait) {
            self.drop_reference_of_kind(id, tcb, true, out);
        }
    }

    /// A list no longer shows a hold.
    pub(in crate::source::windows::model) fn end(&mut self, id: HoldId, out: &mut Out<'_>) {
        let Some(held) = self.holds.get(&id) else {
            return;
        };
        if held.time_wait.is_some() {
            out.push(EventKind::TimeWaitEnded { hold: id });
        }
        if !held.released {
            out.push(EventKind::Released { hold: id });
        }
        self.forget(id, out.at_ns);
    }
}
