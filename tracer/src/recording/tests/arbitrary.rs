//! Strategies for arbitrary events.

use crate::event::{
    Acquired, Event, EventKind, Failed, FailureCode, Frame, HoldId, LossStage, NetNs, OwnerId, PoolId,
    PortRange, ProcessFacts, ProcessId, ProgramId, Protocol, SiteId, SocketState, TimeWaitFound, Totals,
};
use proptest::option::of;
use proptest::prelude::*;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV6};
use std::num::NonZeroU64;
use std::sync::Arc;

/// Some events, not sorted by time.
pub(super) fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = (any::<u64>(), kind()).prop_map(|(at_ns, kind)| Event { at_ns, kind });
    prop::collection::vec(event, 0..60)
}

fn text() -> impl Strategy<Value = Arc<str>> {
    ".{0,12}".prop_map(Into::into)
}

fn hold() -> impl Strategy<Value = HoldId> {
    prop_oneof![(1000..2000_u64).prop_map(HoldId), any::<u64>().prop_map(HoldId)]
}

fn process() -> impl Strategy<Value = ProcessId> {
    (any::<u32>(), any::<u64>()).prop_map(|(pid, started_ticks)| ProcessId { pid, started_ticks })
}

fn program() -> impl Strategy<Value = ProgramId> {
    (text(), of(text())).prop_map(|(exe, service)| ProgramId { exe, service })
}

fn owner() -> impl Strategy<Value = OwnerId> {
    prop_oneof![
        process().prop_map(OwnerId::Process),
        (of(text()), any::<u32>())
            .prop_map(|(module, netns)| OwnerId::System { module, netns: NetNs(netns) }),
        Just(OwnerId::Unowned),
        program().prop_map(OwnerId::Program),
        of(program()).prop_map(OwnerId::Others),
    ]
}

fn protocol() -> impl Strategy<Value = Protocol> {
    prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp)]
}

fn pool() -> impl Strategy<Value = PoolId> {
    (any::<u32>(), protocol()).prop_map(|(netns, protocol)| PoolId { netns: NetNs(netns), protocol })
}

fn range() -> impl Strategy<Value = PortRange> {
    (any::<u16>(), any::<u16>(), any::<u32>()).prop_map(|(low, high, reserved)| PortRange {
        low,
        high,
        reserved,
    })
}

fn address() -> impl Strategy<Value = SocketAddr> {
    let v6 = (any::<[u8; 16]>(), any::<u16>(), any::<u32>(), any::<u32>())
        .prop_map(|(ip, port, flow, scope)| SocketAddrV6::new(ip.into(), port, flow, scope).into());
    prop_oneof![(any::<[u8; 4]>(), any::<u16>()).prop_map(|(ip, port)| (Ipv4Addr::from(ip), port).into()), v6]
}

fn state() -> impl Strategy<Value = SocketState> {
    use SocketState::{Bound, CloseWait, Closing, Connected, Listen, SynSent};
    prop::sample::select(vec![Bound, Listen, SynSent, Connected, CloseWait, Closing])
}

fn site() -> impl Strategy<Value = SiteId> {
    (1..u64::MAX).prop_map(|id| SiteId(NonZeroU64::new(id).unwrap()))
}

fn frames() -> impl Strategy<Value = Arc<[Frame]>> {
    let frame = prop_oneof![
        any::<u64>().prop_map(Frame::Address),
        (text(), any::<u64>()).prop_map(|(path, offset)| Frame::File { path, offset }),
        (text(), of(text())).prop_map(|(name, module)| Frame::Named { name, module }),
    ];
    prop::collection::vec(frame, 0..6).prop_map(Into::into)
}

fn facts() -> impl Strategy<Value = ProcessFacts> {
    let texts = (of(text()), of(text()), of(text()), of(text()), of(text()));
    let numbers = (of(any::<u32>()), of(any::<u32>()), of(any::<u32>()));
    (text(), texts, numbers).prop_map(|(comm, (exe, cmdline, cgroup, container, service), numbers)| {
        let (uid, ppid, netns) = numbers;
        let netns = netns.map(NetNs);
        ProcessFacts { comm, exe, cmdline, uid, ppid, netns, cgroup, container, service }
    })
}

fn acquired() -> impl Strategy<Value = Acquired> {
    let who = (hold(), owner(), pool(), of(range()), any::<bool>());
    let what = (address(), of(any::<u16>()), of(address()), state(), of(site()));
    (who, what).prop_map(|(who, what)| {
        let (hold, owner, pool, range, pre_existing) = who;
        let (local, port, remote, state, site) = what;
        let local = local.ip();
        Acquired { hold, owner, pool, range, pre_existing, local, port, remote, state, site }
    })
}

fn failed() -> impl Strategy<Value = Failed> {
    use FailureCode::{EADDRINUSE, EADDRNOTAVAIL, EAGAIN};
    let code = prop::sample::select(vec![EADDRNOTAVAIL, EADDRINUSE, EAGAIN]);
    (owner(), pool(), code, of(address()), of(address()), of(hold())).prop_map(
        |(owner, pool, code, local, remote, retracts)| {
            let local = local.map(|address| address.ip());
            Failed { owner, pool, code, local, remote, retracts }
        },
    )
}

fn found() -> impl Strategy<Value = TimeWaitFound> {
    (hold(), pool(), of(address()), any::<u64>()).prop_map(|(hold, pool, remote, ends_ns)| TimeWaitFound {
        hold,
        pool,
        remote,
        ends_ns,
    })
}

fn stage() -> impl Strategy<Value = LossStage> {
    use LossStage::{Decode, Etw, Kernel, Queue, Recording};
    prop::sample::select(vec![Kernel, Queue, Decode, Etw, Recording])
}

fn totals() -> impl Strategy<Value = Totals> {
    (any::<u64>(), any::<u64>()).prop_map(|(acquired, released)| Totals { acquired, released })
}

fn kind() -> impl Strategy<Value = EventKind> {
    prop_oneof![
        (process(), facts()).prop_map(|(id, facts)| EventKind::Process { id, facts }),
        (process(), process()).prop_map(|(parent, child)| EventKind::Forked { parent, child }),
        process().prop_map(|id| EventKind::Descendant { id }),
        process().prop_map(|id| EventKind::Exited { id }),
        (site(), frames()).prop_map(|(id, frames)| EventKind::Site { id, frames }),
        (hold(), any::<u16>()).prop_map(|(hold, port)| EventKind::PortLearnt { hold, port }),
        (hold(), state(), of(address())).prop_map(|(hold, state, remote)| EventKind::State {
            hold,
            state,
            remote
        }),
        hold().prop_map(|hold| EventKind::Released { hold }),
        hold().prop_map(|hold| EventKind::TimeWaitBegan { hold }),
        hold().prop_map(|hold| EventKind::TimeWaitEnded { hold }),
        (hold(), owner()).prop_map(|(hold, owner)| EventKind::Moved { hold, owner }),
        any::<u64>().prop_map(|count| EventKind::Corrected { count }),
        (pool(), range()).prop_map(|(pool, range)| EventKind::Pool { pool, range }),
        (owner(), protocol(), totals(), of(any::<u32>())).prop_map(|(owner, protocol, totals, netns)| {
            EventKind::Totals { owner, protocol, totals, netns: netns.map(NetNs) }
        }),
        (any::<u64>(), stage()).prop_map(|(count, stage)| EventKind::Lost { count, stage }),
        pool().prop_map(|pool| EventKind::Scarce { pool }),
        Just(EventKind::ResyncBegan),
        Just(EventKind::ResyncEnded),
        (hold(), any::<u64>()).prop_map(|(hold, idle_ns)| EventKind::Idle { hold, idle_ns }),
        acquired().prop_map(EventKind::Acquired),
        acquired().prop_map(EventKind::Confirmed),
        found().prop_map(EventKind::TimeWaitFound),
        failed().prop_map(EventKind::Failed),
    ]
}
