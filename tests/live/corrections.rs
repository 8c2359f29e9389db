//! The kernel's own list of sockets corrects the ledger, and only where it is wrong.

use crate::harness::{PATIENCE, Tracer, Workload, alone, until};
use aya::maps::{HashMap, MapData, MapInfo};
use portleak_ebpf::Hold;
use portleak_tests::trace::Trace;
use serde_json::Value;
use std::fs;
use std::time::{Duration, Instant};

/// Looks and second looks are done by then.
const LOOKED: Duration = Duration::from_secs(8);

/// The ledger of a running tracer, for a test to spoil.
struct Ledger(HashMap<MapData, u64, Hold>);

impl Ledger {
    fn of(tracer: &Tracer) -> Self {
        let folder = format!("/proc/{}/fdinfo", tracer.pid());
        let files = fs::read_dir(folder).expect("the tracer's descriptors").flatten();
        let infos = files.filter_map(|file| fs::read_to_string(file.path()).ok());
        let mut ids = infos.filter_map(|info| map_id(&info));
        let id = ids.find(|id| is_ledger(*id)).expect("a map of holds");
        let map = aya::maps::Map::HashMap(MapData::from_id(id).expect("the map"));
        Self(map.try_into().expect("a map of cookies and holds"))
    }

    fn spoil(&mut self, pid: &Value, losing: usize, inventing: u64) {
        let mut entries: Vec<(u64, Hold)> = self.0.iter().flatten().collect();
        entries.retain(|(_, hold)| pid.as_u64() == Some(hold.owner.pid.into()));
        assert!(entries.len() > losing, "{} holds", entries.len());
        for (cookie, _) in &entries[..losing] {
            self.0.remove(cookie).expect("removing a hold");
        }
        for invented in 0..inventing {
            let (_, like) = entries[losing];
            self.0.insert(u64::MAX / 2 + invented, like, 0).expect("inventing a hold");
        }
    }
}

fn map_id(fdinfo: &str) -> Option<u32> {
    fdinfo.lines().find_map(|line| line.strip_prefix("map_id:"))?.trim().parse().ok()
}

fn is_ledger(id: u32) -> bool {
    MapInfo::from_id(id).is_ok_and(|info| info.name() == b"HOLDS")
}

/// Holds that the ledger lost are entered again, and what it made up is taken out.
#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_spoilt_ledger_is_mended() {
    let _machine = alone();
    let tracer = Tracer::start(&[]);
    let workload = Workload::start(&["hold", "--connections", "20"]);
    let client = workload.client_of_server();
    Ledger::of(&tracer).spoil(&client["pid"], 3, 2);
    // An owner that ends while others can use its ports makes the tracer look.
    let mover = Workload::start(&["move", "exit", "--connections", "1"]);
    mover.client_of_server();
    tracer.wait_for("corrections", PATIENCE, |trace| (trace.corrected() >= 5).then_some(()));
    mover.end();
    workload.end();
    let trace = tracer.finish();
    assert_eq!(trace.corrections(), 5, "three lost and two invented");
    // Those that were lost are released by the probes again.
    let owner = trace.owner(&client["pid"]);
    assert_eq!((&owner["tcp"]["acquired"], &owner["tcp"]["held"]), (&20.into(), &0.into()), "{owner}");
}

/// Looks while ports come and go must find hardly anything to correct.
#[test]
#[ignore = "needs root: cargo xtask test"]
fn churn_is_hardly_corrected() {
    let _machine = alone();
    let tracer = Tracer::start(&[]);
    let workload = Workload::start(&["steady", "--per-second", "500", "--seconds", "70", "--hold-ms", "100"]);
    let report = workload.reports(1, Duration::from_secs(100)).remove(0);
    let trace = tracer.finish();
    trace.check(&report);
    assert_eq!(trace.lost(), 0, "losses");
    assert_hardly_corrected(&trace, &report);
    workload.end();
}

/// A buffer that is far too small: the ledger is right nevertheless, and looking finds hardly anything.
#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_loss_needs_hardly_any_correction() {
    let _machine = alone();
    let tracer = Tracer::start(&["--buffer", "65536"]);
    let workload = Workload::start(&["storm", "--connections", "50000", "--destinations", "64"]);
    let report = workload.reports(1, Duration::from_secs(90)).remove(0);
    workload.end();
    let begun = Instant::now();
    until("the tracer to have looked", PATIENCE, || (begun.elapsed() > LOOKED).then_some(()));
    let trace = tracer.finish();
    trace.check(&report);
    assert_hardly_corrected(&trace, &report);
}

/// Looks see the sockets of the whole machine, namespaces that other tests have just left included:
/// not nothing for certain.
fn assert_hardly_corrected(trace: &Trace, report: &Value) {
    let taken = report["tcp"]["acquired"].as_u64().expect("a count");
    assert!(trace.corrections() * 20 < taken, "{} corrections of {taken} ports", trace.corrections());
}
