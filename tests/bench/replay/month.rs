//! A simulated month of a busy host through the engine: 1,000 short-lived processes a minute that
//! take a port or two, 50 long-lived ones, 500 destinations, two leaks.

use anyhow::{Result, ensure};
use portleak::engine::report::{Finding, Summary, Verdict};
use portleak::engine::{Config, Engine, Profile};
use portleak::event::{
    Acquired, Event, EventKind, HoldId, NetNs, OwnerId, PoolId, PortRange, ProcessFacts, ProcessId, Protocol,
    SocketState,
};
use portleak_tests::meter;
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};

const SECOND_NS: u64 = 1_000_000_000;
const SHORT_PER_MINUTE: u64 = 1_000;
const LONG: u32 = 50;
const DESTINATIONS: u64 = 500;
const PROGRAMS: u64 = 40;
const POOL: PoolId = PoolId { netns: NetNs(1), protocol: Protocol::Tcp };
const RANGE: PortRange = PortRange { low: 32_768, high: 60_999, reserved: 0 };
/// Seconds between two ports that a leak does not give back. The slower one loses 288 a day.
const LEAKS: [(u32, u64); 2] = [(1, 60), (2, 300)];
/// A leak's process is restarted when it holds so many ports: nobody can hold more than the pool has.
const RESTART_AT: u64 = 2_000;

/// What really happened, and the engine.
struct Host {
    engine: Engine,
    now_ns: u64,
    next: u64,
    acquired: u64,
    released: u64,
    found: BTreeSet<u32>,
    accused: BTreeSet<String>,
}

/// A leaking process: how often it was restarted, and what it holds.
#[derive(Default)]
struct Leak {
    restarts: u32,
    holds: Vec<HoldId>,
}

pub(crate) fn run(days: u64) -> Result<()> {
    let began = meter::cpu_s();
    let config = Config { profile: Profile::Production, ..Config::default() };
    let mut host = Host {
        engine: Engine::new(config, 0),
        now_ns: 0,
        next: 1,
        acquired: 0,
        released: 0,
        found: BTreeSet::new(),
        accused: BTreeSet::new(),
    };
    for number in 0..LONG {
        host.name(100 + number, 0, "worker");
    }
    let mut leaks: [Leak; 2] = Default::default();
    let (mut half, seconds) = (0_u64, days * 86_400);
    for second in 0..seconds {
        host.second(second, &mut leaks);
        if second == seconds / 2 {
            half = meter::memory("VmRSS").unwrap_or_default();
        }
    }
    let summary = host.engine.summary(host.now_ns);
    let rss = meter::memory("VmRSS").unwrap_or_default();
    let cpu_s = meter::cpu_s() - began;
    let [acquired, released, held] = sums(&summary);
    let said = serde_json::json!({
        "days": days, "events": summary.events, "cpu_s": cpu_s,
        "rss_half_bytes": half, "rss_end_bytes": rss,
        "acquired": acquired, "released": released, "held": held,
        "owners": summary.owners.len(), "folded": summary.folded, "evicted": summary.evicted,
        "leaks_found": host.found, "others_accused": host.accused,
    });
    println!("{said}");
    ensure!(
        [acquired, released, held] == [host.acquired, host.released, host.acquired - host.released],
        "sums"
    );
    ensure!(host.found.len() == LEAKS.len(), "a leak was not found");
    ensure!(host.accused.is_empty(), "a healthy owner was accused");
    Ok(())
}

impl Host {
    fn second(&mut self, second: u64, leaks: &mut [Leak; 2]) {
        let started = second * SHORT_PER_MINUTE / 60;
        let until = (second + 1) * SHORT_PER_MINUTE / 60;
        for number in started..until {
            self.short(number);
        }
        for worker in 0..LONG {
            let dice = mix(second * u64::from(LONG) + u64::from(worker));
            if dice.is_multiple_of(4) {
                let hold = self.acquire(100 + worker, 0, dice >> 8);
                self.release(hold);
            }
        }
        for (leak, &(pid, every)) in leaks.iter_mut().zip(&LEAKS) {
            self.leak(leak, pid, second, every);
        }
        self.now_ns = (second + 1) * SECOND_NS;
        self.engine.advance(self.now_ns);
        let _ = self.engine.take_idle_queries();
        for finding in self.engine.take_findings() {
            self.judge(finding);
        }
    }

    /// A process that takes a port, uses it and ends.
    fn short(&mut self, number: u64) {
        let pid = 1_000 + (number % 4_000_000) as u32;
        let dice = mix(number);
        self.name(pid, number, &format!("program-{}", dice % PROGRAMS));
        for port in 0..=dice % 2 {
            let hold = self.acquire(pid, number, (dice >> 8) + port);
            self.release(hold);
        }
        self.emit(EventKind::Exited { id: ProcessId { pid, started_ticks: number } });
    }

    fn leak(&mut self, leak: &mut Leak, pid: u32, second: u64, every: u64) {
        let started = u64::from(leak.restarts);
        if second == 0 {
            self.name(pid, started, "leaky");
        }
        if second.is_multiple_of(every) {
            leak.holds.push(self.acquire(pid, started, u64::from(pid)));
        }
        if leak.holds.len() as u64 >= RESTART_AT {
            std::mem::take(&mut leak.holds).into_iter().for_each(|hold| self.release(hold));
            self.emit(EventKind::Exited { id: ProcessId { pid, started_ticks: started } });
            leak.restarts += 1;
            self.name(pid, started + 1, "leaky");
        }
    }

    fn judge(&mut self, finding: Finding) {
        let Finding::Verdict { owner, verdict, .. } = finding else {
            return;
        };
        match owner.id {
            OwnerId::Process(id) if id.pid < 100 => {
                self.found.extend((verdict == Verdict::Leak).then_some(id.pid));
            }
            id if verdict.fails() => _ = self.accused.insert(format!("{id:?}")),
            _ => {}
        }
    }

    fn emit(&mut self, kind: EventKind) {
        self.now_ns += 1_000;
        self.engine.apply(&Event { at_ns: self.now_ns, kind });
    }

    fn name(&mut self, pid: u32, started_ticks: u64, comm: &str) {
        let exe = Some(format!("/usr/bin/{comm}").into());
        let cmdline = Some(format!("/usr/bin/{comm} --number {started_ticks}").into());
        let facts = ProcessFacts { comm: comm.into(), exe, cmdline, ..ProcessFacts::default() };
        self.emit(EventKind::Process { id: ProcessId { pid, started_ticks }, facts });
    }

    fn acquire(&mut self, pid: u32, started_ticks: u64, dice: u64) -> HoldId {
        let hold = HoldId(self.next);
        self.next += 1;
        self.acquired += 1;
        let octets = ((dice % DESTINATIONS) as u16).to_be_bytes();
        self.emit(EventKind::Acquired(Acquired {
            hold,
            owner: OwnerId::Process(ProcessId { pid, started_ticks }),
            pool: POOL,
            range: Some(RANGE),
            pre_existing: false,
            local: Ipv4Addr::new(10, 0, 1, 1).into(),
            port: Some(RANGE.low + (self.next % 28_232) as u16),
            remote: Some(SocketAddr::from((Ipv4Addr::new(10, 0, octets[0], octets[1]), 443))),
            state: SocketState::Connected,
            site: None,
        }));
        hold
    }

    fn release(&mut self, hold: HoldId) {
        self.released += 1;
        self.now_ns += 10_000;
        self.emit(EventKind::Released { hold });
    }
}

/// Numbers that look like chance and are the same every time (splitmix64).
fn mix(number: u64) -> u64 {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^ (mixed >> 27)
}

fn sums(summary: &Summary) -> [u64; 3] {
    summary.owners.iter().fold([0; 3], |[acquired, released, held], owner| {
        let tcp = &owner.tcp;
        [acquired + tcp.acquired, released + tcp.released - tcp.moved_out, held + tcp.held]
    })
}
