//! The providers of the session, their events, and the events that carry a stack.

use crate::source::Stacks;
use crate::source::windows::guid::{self, Guid};
use crate::source::windows::layout::{Layout, layouts};
use std::ops::RangeInclusive;

/// How many portleak processes can trace at once. Windows runs 64 sessions in total.
pub const SESSIONS_MAX: usize = 32;
/// Information (winmeta.h): no used event has a higher level.
pub const LEVEL: u8 = 4;
/// The most ids in a filter: `MAX_EVENT_FILTER_EVENT_ID_COUNT` (evntprov.h). ferrisetw drops a filter
/// with more ids, or with none, without an error.
pub const IDS_MAX: usize = 64;

/// AFD's legacy events, which every manifest since Windows 7 has beside the 1000 series. They repeat it,
/// so only the self-test enables them, to find out whether Windows still writes them.
pub const AFD_LEGACY: RangeInclusive<u16> = 1..=41;

/// A provider with a manifest.
#[derive(Clone, Copy, Debug)]
pub struct Provider {
    /// Its GUID.
    pub guid: Guid,
    /// Its name in Windows.
    pub name: &'static str,
    /// Its keywords: Windows writes an event that has one of them.
    pub keywords: u64,
}

/// The TCP/IP stack: endpoints (0x400), connections (0x4_0000_0000) and reserved ports
/// (0x80_0000_0000).
pub const TCPIP: Provider =
    Provider { guid: guid::TCPIP, name: "Microsoft-Windows-TCPIP", keywords: 0x84_0000_0400 };
/// The socket layer, as programs use it (`SOURCE_WINSOCK`).
pub const AFD: Provider = Provider { guid: guid::AFD, name: "Microsoft-Windows-Winsock-AFD", keywords: 4 };
/// Processes (`WINEVENT_KEYWORD_PROCESS`).
pub const KERNEL_PROCESS: Provider =
    Provider { guid: guid::KERNEL_PROCESS, name: "Microsoft-Windows-Kernel-Process", keywords: 0x10 };
/// All enabled providers.
pub const PROVIDERS: [Provider; 3] = [TCPIP, AFD, KERNEL_PROCESS];

const _: () = {
    let mut at = 0;
    while at < PROVIDERS.len() {
        assert!(matches!(count(layouts(PROVIDERS[at].guid)), 1..=IDS_MAX), "a filter takes 1 to 64 events");
        at += 1;
    }
    let legacy = (*AFD_LEGACY.end() - *AFD_LEGACY.start()) as usize + 1;
    assert!(count(layouts(AFD.guid)) + legacy <= IDS_MAX, "a filter takes both");
};

/// How many events the layouts describe. The layouts of one event are adjacent.
const fn count(layouts: &[Layout]) -> usize {
    let (mut at, mut events) = (0, 0);
    while at < layouts.len() {
        if at == 0 || layouts[at - 1].id != layouts[at].id {
            events += 1;
        }
        at += 1;
    }
    events
}

/// The session names: `portleak`, then `portleak-2` and so on.
#[must_use]
pub fn session_name(index: usize) -> String {
    if index == 0 { "portleak".to_owned() } else { format!("portleak-{}", index + 1) }
}

impl Provider {
    /// The ids of its used events: those with a known layout.
    #[must_use]
    pub fn ids(&self) -> Vec<u16> {
        let mut ids: Vec<u16> = layouts(self.guid).iter().map(|layout| layout.id).collect();
        ids.dedup();
        ids
    }
}

/// The TCPIP events that carry a stack: socket creations, whose stacks name the kernel's drivers. Windows
/// adds the stacks of processes as well; those are not read.
#[must_use]
pub fn stack_ids(stacks: Stacks) -> &'static [u16] {
    match stacks {
        Stacks::None => &[],
        Stacks::Kernel | Stacks::All => &[1001, 1391],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filters_match_the_decoders() {
        for provider in PROVIDERS {
            assert_eq!(provider.ids().len(), count(layouts(provider.guid)));
        }
        assert_eq!(AFD.ids(), [1000, 1001, 1018, 1021, 1029, 1030, 1032]);
        assert_eq!(KERNEL_PROCESS.ids(), [1, 2, 15]);
    }

    #[test]
    fn session_names_differ() {
        assert_eq!([0, 1].map(session_name), ["portleak", "portleak-2"]);
    }

    #[test]
    fn only_enabled_events_carry_stacks() {
        let ids = TCPIP.ids();
        for stacks in [Stacks::None, Stacks::Kernel, Stacks::All] {
            assert!(stack_ids(stacks).iter().all(|id| ids.contains(id)), "{stacks:?}");
        }
    }
}
