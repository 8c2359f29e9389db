//! What the live source asks of the machine: the seam at which tests put a kernel of their own.
//!
//! Two traits, by the one property that matters: [`System`] never blocks and is used on the capture
//! thread; anything in [`Queries`] may hang for as long as a program on this machine likes, and is
//! called by workers only.

use crate::event::{Frame, HoldId, NetNs, PortRange, ProcessFacts, ProcessId, Protocol};
use crate::source::linux::bpf::wire::{Record, WireError};
use crate::source::linux::track::reconcile::scan::{ScanRequest, ScanResult};
use portleak_ebpf::Hold;
use rustc_hash::FxHashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// The probes' records, in the order of the ring buffer.
pub trait Records: Send {
    /// The next record, if one is there.
    fn next(&mut self) -> Option<Result<Record, WireError>>;
}

/// What never blocks.
pub trait System: Send {
    /// Nanoseconds since boot, on the probes' clock.
    fn now_ns(&self) -> u64;

    /// How often the kernel skipped a probe because another was running on that CPU.
    fn skipped(&self) -> u64;

    /// Whether a hook is attached, or can be at once.
    fn has_hook(&self, name: &str) -> bool;

    /// Attaches the hook after every send, or detaches it. Says whether it is attached.
    fn watch_sends(&mut self, on: bool) -> bool;

    /// Detaches every probe.
    fn detach(&mut self);

    /// The process that has a pid now.
    fn process(&self, pid: u32) -> Option<ProcessId>;

    /// What is known of the process that has a pid now; without its command line, which lies in its
    /// own memory.
    fn facts(&self, pid: u32) -> Option<(ProcessId, ProcessFacts)>;

    /// Adds to what a record says of a process what only /proc knows, while it lives.
    fn complete(&self, process: ProcessId, facts: ProcessFacts) -> ProcessFacts;
}

/// What may block: files below `/proc/PID` that take the process's memory lock, files that a
/// process provides, namespaces, lists of all sockets or all processes.
pub trait Queries: Send + Sync {
    /// The command line of a process, while it lives.
    fn command_line(&self, process: ProcessId) -> Option<Arc<str>>;

    /// What the return addresses of a stack mean, while its process lives.
    fn frames(&self, process: ProcessId, addresses: &[u64]) -> Vec<Frame>;

    /// The local ports of a namespace's sockets; `pids` may be inside it.
    fn ports(&self, netns: NetNs, pids: &[u32], protocol: Protocol) -> PortList;

    /// The port ranges of some namespaces.
    fn port_ranges(&self, asked: Vec<RangeQuery>) -> Vec<RangeAnswer>;

    /// Whether a namespace lets a socket be bound to an address; `pid` may be inside it.
    fn is_local(&self, netns: NetNs, pid: Option<u32>, protocol: Protocol, address: IpAddr) -> bool;

    /// For how long connections have been idle, as far as that is known.
    fn idle_times(&self, holds: Vec<(HoldId, Hold)>) -> Vec<IdleTime>;

    /// Lists sockets, and who holds them.
    fn scan(&self, request: &ScanRequest) -> ScanResult;
}

/// The sockets of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortList {
    /// Their local ports, by cookie.
    Listed(FxHashMap<u64, u16>),
    /// The namespace has ended.
    Gone,
    /// They cannot be listed.
    Unreadable,
}

/// A namespace, and how it was entered the last time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeQuery {
    /// Which.
    pub netns: NetNs,
    /// A path to it, that may lead to another by now.
    pub path: Option<PathBuf>,
}

/// What a namespace's range is, and the path that led there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeAnswer {
    /// Which.
    pub netns: NetNs,
    /// `None` if no path leads to it any more.
    pub found: Option<(PathBuf, PortRange)>,
}

/// For how long a connection has been idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdleTime {
    /// Whose it is.
    pub hold: HoldId,
    /// When that was found out.
    pub at_ns: u64,
    /// Since data was last sent or received; its age if never.
    pub idle_ns: u64,
}
