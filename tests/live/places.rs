//! Where ports are: namespaces with their own pools, cgroups, and what is there without tracing.

use crate::harness::{PATIENCE, Process, Tracer, Workload, alone, portleak, workload_path};
use portleak::source::linux::kernel::netns::{self, Namespace};
use portleak_tests::trace::Trace;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

const EVERY_KIND: &str = "exact --processes 2 --tcp 100 --tcp-bound 25 --udp-bind 50 --udp-connect 50 \
                          --udp-send 50 --hold 5";

/// `portleak snapshot` as one JSON line.
fn snapshot(arguments: &[&str]) -> Trace {
    let files = tempfile::tempdir().expect("a directory for the output");
    let output = files.path().join("output");
    let mut command = portleak(&["snapshot", "--format", "json", "--output"]);
    command.arg(&output).args(arguments).stdin(Stdio::null());
    let status = Process::start(&mut command).end("portleak snapshot", PATIENCE);
    assert_eq!(status.code(), Some(0), "portleak snapshot {arguments:?}");
    Trace::snapshot(&output)
}

/// Where a process's network namespace is.
fn netns_path(pid: &Value) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/ns/net"))
}

fn netns_of(pid: &Value) -> u64 {
    fs::metadata(netns_path(pid)).expect("the namespace of a live process").ino()
}

/// Demands that a process holds what it says.
fn check_held(trace: &Trace, report: &Value) {
    for protocol in ["tcp", "udp"] {
        trace.check_count(report, protocol, "held", &report[protocol]["held"]);
    }
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_snapshot_lists_every_kind_of_hold_with_its_owner() {
    let _machine = alone();
    let arguments: Vec<_> = EVERY_KIND.split_whitespace().collect();
    let workload = Workload::start(&arguments);
    let reports = workload.reports(3, PATIENCE);
    let trace = snapshot(&[]);
    for client in &reports[1..] {
        check_held(&trace, client);
        trace.check_count(client, "tcp", "acquired", &json!(0));
        let owner = trace.owner(&client["pid"]);
        assert_eq!(owner["owner"]["comm"], "workload");
        assert_eq!(owner["owner"]["netns"], netns_of(&client["pid"]));
        assert_eq!(owner["verdict"], "clean");
        assert_eq!(owner["tcp"]["held_bound_only"], 5, "every fifth of 25");
    }
    trace.check_took_nothing(&reports[0]);
    let held: u64 = reports[1..].iter().filter_map(|report| report["tcp"]["held"].as_u64()).sum();
    let pools = trace.pools_of(netns_of(&reports[1]["pid"]));
    assert!(held > 0 && pools[0]["used"].as_u64() <= Some(held), "{}", pools[0]);
    workload.end();
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn time_waits_of_before_are_in_the_pools_and_end_there() {
    let _machine = alone();
    let workload = Workload::start(&["time-wait", "--connections", "200"]);
    let client = workload.client_of_server();
    let netns = netns_of(&client["pid"]);
    assert_eq!(snapshot(&[]).pools_of(netns)[0]["time_wait"], 200);
    let tracer = Tracer::start(&[]);
    let trace = tracer.finish();
    assert_eq!(trace.pools_of(netns)[0]["time_wait"], 200, "those of before");
    if let Some(owner) = trace.find(&client["pid"]) {
        assert_eq!(owner["tcp"]["acquired"], 0, "not acquired while tracing");
    }
    // The kernel clears them away with the namespace, soon, and tells nobody when it is done.
    let tracer = Tracer::start(&[]);
    workload.end();
    thread::sleep(Duration::from_secs(1));
    let trace = tracer.finish();
    assert_eq!(trace.pools_of(netns)[0]["time_wait"], 0, "their ends were told");
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn only_one_namespace_is_reported_if_one_is_asked_for() {
    let _machine = alone();
    let hold = ["hold", "--connections", "20"];
    let inside = Workload::start(&hold);
    let here = inside.client_of_server();
    let netns = netns_of(&here["pid"]);
    let filter = ["--netns", &netns.to_string()];
    let tracer = Tracer::start(&filter);
    let outside = Workload::start(&hold);
    let there = outside.client_of_server();
    for trace in [snapshot(&filter), tracer.finish()] {
        check_held(&trace, &here);
        assert!(trace.find(&there["pid"]).is_none(), "a process of another namespace");
        assert_eq!(trace.pools_of(netns).len(), trace.pools().len(), "pools of other namespaces");
    }
    inside.end();
    outside.end();
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn settings_that_change_are_noticed_where_nobody_takes_a_port() {
    let _machine = alone();
    let tracer = Tracer::start(&[]);
    let workload = Workload::start(&["hold", "--connections", "20"]);
    let client = workload.client_of_server();
    let namespace = Namespace::open(&netns_path(&client["pid"])).expect("the workload's namespace");
    netns::within(&namespace, || {
        set("ip_local_port_range", "40000 45000");
        set("ip_local_reserved_ports", "40001-40010,50000");
    })
    .expect("a look inside");
    drop(namespace);
    let trace = tracer.finish();
    let pools = trace.pools_of(netns_of(&client["pid"]));
    assert_eq!(pools.len(), 2);
    for pool in pools {
        let settings = [&pool["low"], &pool["high"], &pool["reserved"]];
        assert_eq!(settings, [40_000, 45_000, 10], "{pool}");
    }
    check_held(&trace, &client);
    workload.end();
}

fn set(setting: &str, value: &str) {
    fs::write(format!("/proc/sys/net/ipv4/{setting}"), value).expect("a setting of the workload's namespace");
}

/// A cgroup of this test, named like a service.
struct Cgroup {
    mount: TempDir,
    name: String,
}

impl Cgroup {
    fn new() -> Self {
        let mount = tempfile::tempdir().expect("a directory to mount on");
        let mut command = Command::new("mount");
        let mounted = command.args(["-t", "cgroup2", "none"]).arg(mount.path()).status();
        assert!(mounted.is_ok_and(|status| status.success()), "cgroup2 cannot be mounted");
        let name = format!("portleak-test-{}.service", std::process::id());
        let cgroup = Self { mount, name };
        fs::create_dir(cgroup.directory()).expect("a cgroup");
        cgroup
    }

    fn directory(&self) -> PathBuf {
        self.mount.path().join(&self.name)
    }

    fn path(&self) -> String {
        format!("/{}", self.name)
    }

    /// A shell that moves here and becomes the workload.
    fn workload(&self) -> Command {
        let mut shell = Command::new("sh");
        shell.args(["-c", "echo 0 > \"$0\"/cgroup.procs && exec \"$@\""]);
        shell.arg(self.directory()).arg(workload_path());
        shell
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Should it still be inhabited, the test has failed already.
        let _ = fs::remove_dir(self.directory());
        let _ = Command::new("umount").arg(self.mount.path() as &Path).status();
    }
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_service_is_named_and_can_be_asked_for() {
    let _machine = alone();
    let cgroup = Cgroup::new();
    let hold = ["hold", "--connections", "20"];
    let tracer = Tracer::start(&["--cgroup", &cgroup.path()]);
    let inside = Workload::start_by(cgroup.workload(), &hold);
    let outside = Workload::start(&hold);
    let (here, there) = (inside.client_of_server(), outside.client_of_server());
    for trace in [snapshot(&["--cgroup", &cgroup.path()]), tracer.finish()] {
        check_held(&trace, &here);
        let owner = &trace.owner(&here["pid"])["owner"];
        assert_eq!(owner["service"], cgroup.name.as_str());
        assert_eq!(owner["cgroup"], cgroup.path());
        assert_eq!(owner["container"], Value::Null);
        assert!(trace.find(&there["pid"]).is_none(), "a process of another cgroup");
    }
    inside.end();
    outside.end();
}
