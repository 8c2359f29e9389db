//! What the session asks of Windows: which providers, which of their events, and of which the stack.

use crate::source::Stacks;
use crate::source::windows::guid::{self, Guid};
use crate::source::windows::layout::{Layout, layouts};
use std::ops::RangeInclusive;

/// How many portleaks can have a session at once; Windows runs 64 of everybody's.
pub const SLOTS: usize = 32;
/// Information: what all events that are used have, or less (winmeta.h).
pub const LEVEL: u8 = 4;
/// What a filter takes: `MAX_EVENT_FILTER_EVENT_ID_COUNT` (evntprov.h). ferrisetw leaves out a filter
/// with more, or with none, and says nothing.
pub const IDS_MAX: usize = 64;

/// AFD's older events, which every manifest since Windows 7 has beside the 1000 series: what is used says
/// the same, so they are asked for only by who wants to know whether they are still written.
pub const AFD_LEGACY: RangeInclusive<u16> = 1..=41;

/// A provider with a manifest.
#[derive(Clone, Copy, Debug)]
pub struct Provider {
    /// Which.
    pub guid: Guid,
    /// As Windows calls it.
    pub name: &'static str,
    /// Its keywords: an event is written that has one of them.
    pub keywords: u64,
}

/// The stack: endpoints (0x400) and what becomes of connections (0x4_0000_0000), and ports taken out
/// of the pool (0x80_0000_0000).
pub const TCPIP: Provider =
    Provider { guid: guid::TCPIP, name: "Microsoft-Windows-TCPIP", keywords: 0x84_0000_0400 };
/// The socket layer, as programs use it (`SOURCE_WINSOCK`).
pub const AFD: Provider = Provider { guid: guid::AFD, name: "Microsoft-Windows-Winsock-AFD", keywords: 4 };
/// Processes (`WINEVENT_KEYWORD_PROCESS`).
pub const KERNEL_PROCESS: Provider =
    Provider { guid: guid::KERNEL_PROCESS, name: "Microsoft-Windows-Kernel-Process", keywords: 0x10 };
/// All that are asked.
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

/// How many events layouts are of; those of one stand together.
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

/// The name of a session: `portleak` for the first one, then `portleak-2` and so on.
#[must_use]
pub fn session_name(slot: usize) -> String {
    if slot == 0 { "portleak".to_owned() } else { format!("portleak-{}", slot + 1) }
}

impl Provider {
    /// Its events that are used: those whose layout is known.
    #[must_use]
    pub fn ids(&self) -> Vec<u16> {
        let mut ids: Vec<u16> = layouts(self.guid).iter().map(|layout| layout.id).collect();
        ids.dedup();
        ids
    }
}

/// Of which events of TCPIP's the stack is taken: of the creation of a socket, which tells the kernel's
/// drivers apart. Those of processes come with them, and are not read.
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
    fn the_filters_are_the_decoders() {
        for provider in PROVIDERS {
            assert_eq!(provider.ids().len(), count(layouts(provider.guid)));
        }
        assert_eq!(AFD.ids(), [1000, 1001, 1018, 1021, 1029, 1030, 1032]);
        assert_eq!(KERNEL_PROCESS.ids(), [1, 2, 15]);
    }

    #[test]
    fn sessions_have_names_of_their_own() {
        assert_eq!([0, 1].map(session_name), ["portleak", "portleak-2"]);
    }

    #[test]
    fn stacks_are_of_events_that_are_asked_for() {
        let ids = TCPIP.ids();
        for stacks in [Stacks::None, Stacks::Kernel, Stacks::All] {
            assert!(stack_ids(stacks).iter().all(|id| ids.contains(id)), "{stacks:?}");
        }
    }
}
