//! Answers the engine's questions: for how long holds have been idle.
//!
//! In a thread of its own, for a namespace may have to be found and entered.

use crate::event::{Event, EventKind, HoldId, NetNs, Protocol};
use crate::source::linux::bpf::ledger::Ledger;
use crate::source::linux::bpf::wire;
use crate::source::linux::kernel::sock_diag::{self, Inquiry};
use crate::source::linux::kernel::{clock, netns};
use portleak_ebpf::{Hold, state};
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use std::iter;
use std::net::SocketAddr;
use std::thread::JoinHandle;

/// Between two rounds: at least so long, and so many times as long as a round takes, so that it
/// stays below a percent of a core.
const PAUSE_NS: u64 = 1_000_000_000;
const REST_FACTOR: u64 = 99;
/// Questions kept for the next round.
const QUESTIONS_MAX: usize = 4_096;

/// Questions and who looks for the answers.
#[derive(Debug, Default)]
pub struct IdleTimes {
    questions: Vec<HoldId>,
    under_way: Option<JoinHandle<Answers>>,
    rests_until_ns: u64,
}

/// What a round found out.
#[derive(Debug)]
struct Answers {
    events: Vec<Event>,
    took_ns: u64,
}

impl IdleTimes {
    /// Takes in questions; those that there is no room for stay unanswered.
    pub fn ask(&mut self, holds: &[HoldId]) {
        let room = QUESTIONS_MAX.saturating_sub(self.questions.len());
        self.questions.extend(holds.iter().take(room));
    }

    /// Begins a round or takes what one has found.
    pub fn turn(&mut self, now_ns: u64, ledger: &Ledger, events: &mut Vec<Event>) {
        if let Some(thread) = self.under_way.take_if(|thread| thread.is_finished())
            && let Ok(answers) = thread.join()
        {
            events.extend(answers.events);
            self.rests_until_ns = now_ns + PAUSE_NS.max(answers.took_ns * REST_FACTOR);
        }
        if self.under_way.is_none() && !self.questions.is_empty() && now_ns >= self.rests_until_ns {
            let asked = std::mem::take(&mut self.questions).into_iter();
            let holds: Vec<_> = asked.filter_map(|id| Some((id, ledger.hold(id.0)?))).collect();
            let thread = std::thread::Builder::new().name("idle".to_owned());
            // Without a thread nobody knows, this time.
            self.under_way = thread.spawn(move || look(holds)).ok();
        }
    }
}

fn look(holds: Vec<(HoldId, Hold)>) -> Answers {
    let began_ns = clock::boot_ns();
    let mut by_netns: BTreeMap<NetNs, Vec<(HoldId, Hold)>> = BTreeMap::new();
    for (id, hold) in holds.into_iter().filter(|(_, hold)| is_connection(hold)) {
        by_netns.entry(NetNs(hold.netns)).or_default().push((id, hold));
    }
    let mut events = Vec::new();
    for (id, holds) in by_netns {
        let near = holds.first().map(|(_, hold)| hold.owner.pid);
        let inside = netns::find(id, near.into_iter().chain(iter::once(std::process::id())));
        let told = inside.map(|namespace| netns::within(&namespace, || answers(&holds)));
        // A namespace that cannot be entered gives no answers.
        events.extend(told.and_then(Result::ok).into_iter().flatten());
    }
    Answers { events, took_ns: clock::boot_ns() - began_ns }
}

fn is_connection(hold: &Hold) -> bool {
    hold.protocol == 6 && matches!(hold.state, state::CONNECTED | state::CLOSE_WAIT | state::CLOSING)
}

fn answers(holds: &[(HoldId, Hold)]) -> Vec<Event> {
    let Ok(inquiry) = Inquiry::open() else {
        return Vec::new();
    };
    let unknown = |(_, hold): &(HoldId, Hold)| wire::local(hold).ip().is_unspecified();
    let chosen = if holds.iter().any(unknown) { local_addresses() } else { FxHashMap::default() };
    let told = holds.iter().filter_map(|&(hold, ref held)| {
        let local = chosen.get(&hold.0).copied().unwrap_or_else(|| wire::local(held));
        let idle = inquiry.idle(hold.0, local, wire::remote(held)?).ok()??;
        let idle_ns = u64::try_from(idle.as_nanos()).unwrap_or(u64::MAX);
        Some(Event { at_ns: clock::boot_ns(), kind: EventKind::Idle { hold, idle_ns } })
    });
    told.collect()
}

/// The address that each TCP socket has: of one that was bound to a port alone, what its connect
/// chose.
fn local_addresses() -> FxHashMap<u64, SocketAddr> {
    let rows = sock_diag::dump(&[Protocol::Tcp]).map(|dump| dump.rows).unwrap_or_default();
    rows.iter().map(|row| (row.cookie, SocketAddr::new(row.local, row.local_port))).collect()
}
