//! Which processes belong to the tree of `run`'s command: announced once each, before anything they own.
//!
//! The probes repeat their mark in every record of a descendant and beside its totals, so a lost record
//! costs nothing: the next one announces it.

use crate::event::EventKind;
use crate::source::linux::bpf::wire;
use portleak_ebpf::OwnerKey;
use rustc_hash::FxHashSet;

/// Beyond so many all are announced anew, which the engine does not mind.
const ANNOUNCED_MAX: usize = 65_536;

/// The descendants that were announced.
#[derive(Debug, Default)]
pub struct Descendants {
    announced: FxHashSet<OwnerKey>,
}

impl Descendants {
    /// The probes' mark was seen on a process: the event, unless it was emitted before.
    pub fn announce(&mut self, key: OwnerKey) -> Option<EventKind> {
        if self.announced.len() >= ANNOUNCED_MAX {
            self.announced.clear();
        }
        self.announced.insert(key).then(|| EventKind::Descendant { id: wire::process(&key) })
    }

    /// A process is gone, and the ledger has no place for it any more.
    pub fn forget(&mut self, key: &OwnerKey) {
        self.announced.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(pid: u32) -> OwnerKey {
        OwnerKey { started_ticks: 1, pid, system_netns: 0 }
    }

    #[test]
    fn each_is_announced_once_and_anew_after_it_was_forgotten() {
        let mut descendants = Descendants::default();
        assert!(descendants.announce(key(1)).is_some());
        assert!(descendants.announce(key(1)).is_none());
        assert!(descendants.announce(key(2)).is_some());
        descendants.forget(&key(1));
        assert!(descendants.announce(key(1)).is_some());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut descendants = Descendants::default();
        let announced = (0..300_000).filter(|pid| descendants.announce(key(*pid)).is_some()).count();
        assert_eq!(announced, 300_000);
        assert!(descendants.announced.len() <= ANNOUNCED_MAX);
    }
}
