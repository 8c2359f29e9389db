//! A kernel that does what a test says, behind the seams of the live source: its records, its maps,
//! and whatever is asked of it. Every query can be made to hang.

use crate::event::{Frame, HoldId, NetNs, PortRange, ProcessFacts, ProcessId, Protocol};
use crate::source::SourceError;
use crate::source::linux::bpf::ledger::{Ledger, Maps};
use crate::source::linux::bpf::wire::{Record, WireError};
use crate::source::linux::system::{IdleTime, PortList, Queries, RangeAnswer, RangeQuery, Records, System};
use crate::source::linux::track::reconcile::scan::{ScanRequest, ScanResult};
use portleak_ebpf::{Hold, OwnerKey, OwnerTotals};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

/// What is so.
#[derive(Default)]
pub(super) struct State {
    pub(super) now_ns: u64,
    pub(super) records: VecDeque<Result<Record, WireError>>,
    pub(super) holds: BTreeMap<u64, Hold>,
    pub(super) owners: HashMap<OwnerKey, OwnerTotals>,
    pub(super) binds: BTreeMap<u64, Hold>,
    pub(super) counters: [u64; portleak_ebpf::counter::COUNT as usize],
    pub(super) processes: BTreeMap<u32, (ProcessId, ProcessFacts)>,
    pub(super) ports: Option<PortList>,
    pub(super) range: Option<PortRange>,
    pub(super) is_local: bool,
    /// What the next scans find; then nothing.
    pub(super) scans: VecDeque<ScanResult>,
    pub(super) detached: bool,
    /// The queries that hang.
    pub(super) hanging: BTreeSet<&'static str>,
    /// Queries that were begun.
    pub(super) begun: Vec<&'static str>,
}

/// One kernel, however many handles there are.
#[derive(Clone, Default)]
pub(super) struct Kernel(Arc<(Mutex<State>, Condvar)>);

impl Kernel {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap()
    }

    pub(super) fn ledger(&self) -> Ledger {
        Ledger::new(Box::new(self.clone()))
    }

    pub(super) fn release(&self) {
        self.state().hanging.clear();
        self.0.1.notify_all();
    }

    /// A query begins; it goes on once it does not hang any more.
    fn query(&self, name: &'static str) -> MutexGuard<'_, State> {
        let mut state = self.state();
        state.begun.push(name);
        self.0.1.wait_while(state, |state| state.hanging.contains(name)).unwrap()
    }
}

impl Records for Kernel {
    fn next(&mut self) -> Option<Result<Record, WireError>> {
        self.state().records.pop_front()
    }
}

impl System for Kernel {
    fn now_ns(&self) -> u64 {
        self.state().now_ns
    }

    fn skipped(&self) -> u64 {
        0
    }

    fn has_hook(&self, _: &str) -> bool {
        false
    }

    fn watch_sends(&mut self, on: bool) -> bool {
        on
    }

    fn detach(&mut self) {
        self.state().detached = true;
    }

    fn process(&self, pid: u32) -> Option<ProcessId> {
        self.facts(pid).map(|(id, _)| id)
    }

    fn facts(&self, pid: u32) -> Option<(ProcessId, ProcessFacts)> {
        self.state().processes.get(&pid).cloned()
    }

    fn complete(&self, _: ProcessId, facts: ProcessFacts) -> ProcessFacts {
        ProcessFacts { exe: Some("/bin/complete".into()), ..facts }
    }
}

impl Queries for Kernel {
    fn command_line(&self, process: ProcessId) -> Option<Arc<str>> {
        // Each process hangs for itself.
        let name = if process.pid == 666 { "command line of 666" } else { "command line" };
        drop(self.query(name));
        Some(format!("command of {}", process.pid).into())
    }

    fn frames(&self, _: ProcessId, addresses: &[u64]) -> Vec<Frame> {
        drop(self.query("frames"));
        let named = |address: &u64| Frame::Named { name: format!("f{address}").into(), module: None };
        addresses.iter().map(named).collect()
    }

    fn ports(&self, _: NetNs, _: &[u32], _: Protocol) -> PortList {
        self.query("ports").ports.clone().unwrap_or(PortList::Unreadable)
    }

    fn port_ranges(&self, asked: Vec<RangeQuery>) -> Vec<RangeAnswer> {
        let range = self.query("ranges").range;
        let found = range.map(|range| (PathBuf::from("/somewhere"), range));
        asked.into_iter().map(|query| RangeAnswer { netns: query.netns, found: found.clone() }).collect()
    }

    fn is_local(&self, _: NetNs, _: Option<u32>, _: Protocol, _: IpAddr) -> bool {
        self.query("is local").is_local
    }

    fn idle_times(&self, holds: Vec<(HoldId, Hold)>) -> Vec<IdleTime> {
        let at_ns = self.query("idle times").now_ns;
        holds.into_iter().map(|(hold, _)| IdleTime { hold, at_ns, idle_ns: 5 }).collect()
    }

    fn scan(&self, _: &ScanRequest) -> ScanResult {
        self.query("scan").scans.pop_front().unwrap_or_default()
    }
}

impl Maps for Kernel {
    fn hold(&self, cookie: u64) -> Option<Hold> {
        self.state().holds.get(&cookie).copied()
    }

    fn add_hold(&mut self, cookie: u64, hold: &Hold) -> bool {
        let mut state = self.state();
        let is_new = !state.holds.contains_key(&cookie);
        if is_new {
            state.holds.insert(cookie, *hold);
        }
        is_new
    }

    fn replace_hold(&mut self, cookie: u64, hold: &Hold) {
        self.state().holds.insert(cookie, *hold);
    }

    fn remove_hold(&mut self, cookie: u64) -> bool {
        self.state().holds.remove(&cookie).is_some()
    }

    fn has_holds(&self) -> bool {
        !self.state().holds.is_empty()
    }

    fn holds(&self) -> Option<Vec<(u64, Hold)>> {
        Some(self.state().holds.iter().map(|(cookie, hold)| (*cookie, *hold)).collect())
    }

    fn owner(&self, owner: &OwnerKey) -> Option<OwnerTotals> {
        self.state().owners.get(owner).copied()
    }

    fn add_owner(&mut self, owner: &OwnerKey, totals: &OwnerTotals) -> bool {
        let mut state = self.state();
        let is_new = !state.owners.contains_key(owner);
        state.owners.entry(*owner).or_insert(*totals);
        is_new
    }

    fn remove_owner(&mut self, owner: &OwnerKey) {
        self.state().owners.remove(owner);
    }

    fn owners(&self) -> Option<Vec<(OwnerKey, OwnerTotals)>> {
        Some(self.state().owners.iter().map(|(owner, totals)| (*owner, *totals)).collect())
    }

    fn tree(&self, _: u32) -> Option<u64> {
        None
    }

    fn binds(&self) -> Vec<(u64, Hold)> {
        self.state().binds.iter().map(|(cookie, hold)| (*cookie, *hold)).collect()
    }

    fn remove_bind(&mut self, cookie: u64) -> bool {
        self.state().binds.remove(&cookie).is_some()
    }

    fn set_control(&mut self, _: u32, _: u32) -> Result<(), SourceError> {
        Ok(())
    }

    fn forget_sender(&mut self, _: u16) {}

    fn set_udp_held(&mut self, _: u32, _: Option<u64>) {}

    fn udp_counted(&self) -> Vec<u32> {
        Vec::new()
    }

    fn counter(&self, index: u32) -> u64 {
        self.state().counters[index as usize]
    }
}
