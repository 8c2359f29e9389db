//! What the tracer said, line by line, and the questions that tests ask of it.

use serde_json::Value;
use std::fs;
use std::path::Path;

/// The counts that must agree with the workload's.
const COUNTS: [&str; 3] = ["acquired", "released", "held"];

/// The output of `--format json`.
pub struct Trace(Vec<Value>);

impl Trace {
    /// The lines that are there already.
    pub fn so_far(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap_or_default();
        let complete = text.rfind('\n').map_or("", |end| &text[..end]);
        Self(complete.lines().map(parse).collect())
    }

    /// All lines, from the start to the summary.
    pub fn complete(path: &Path) -> Self {
        let trace = Self::so_far(path);
        assert!(trace.started(), "no output in {}", path.display());
        let last = trace.0.last().map(|line| &line["type"]);
        assert_eq!(last, Some(&Value::from("summary")), "the last line's type");
        trace
    }

    /// All lines after the start, of which empty ones mean nothing.
    pub fn rest(text: &str) -> Self {
        let trace = Self(text.lines().filter(|line| !line.is_empty()).map(parse).collect());
        let last = trace.0.last().map(|line| &line["type"]);
        assert_eq!(last, Some(&Value::from("summary")), "the last line's type");
        trace
    }

    /// The one line of a snapshot.
    pub fn snapshot(path: &Path) -> Self {
        let trace = Self::so_far(path);
        let types: Vec<_> = trace.0.iter().map(|line| &line["type"]).collect();
        assert_eq!(types, ["summary"], "the lines of a snapshot");
        trace
    }

    /// Whether the tracer has attached.
    pub fn started(&self) -> bool {
        let Some(first) = self.0.first() else {
            return false;
        };
        assert_eq!(first["type"], "start", "the first line: {first}");
        true
    }

    /// All lines of one type.
    pub fn of_type<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Value> {
        self.0.iter().filter(move |line| line["type"] == name)
    }

    /// The last line.
    pub fn summary(&self) -> &Value {
        self.of_type("summary").last().expect("a summary")
    }

    /// How many events were lost.
    pub fn lost(&self) -> u64 {
        let lost = self.summary()["capture"]["lost"].as_u64();
        lost.expect("a count of lost events")
    }

    /// How many holds the kernel's own list corrected.
    pub fn corrections(&self) -> u64 {
        let corrections = self.summary()["capture"]["corrections"].as_u64();
        corrections.expect("a count of corrections")
    }

    /// How many it has told so far.
    pub fn corrected(&self) -> u64 {
        self.of_type("corrected").filter_map(|line| line["count"].as_u64()).sum()
    }

    /// What nobody owns, if there is any.
    pub fn unowned(&self) -> Option<&Value> {
        let owners = self.summary()["owners"].as_array().expect("owners");
        owners.iter().find(|owner| owner["owner"]["kind"] == "unowned")
    }

    /// The process in the summary, if it is there.
    pub fn find(&self, pid: &Value) -> Option<&Value> {
        let owners = self.summary()["owners"].as_array().expect("owners");
        owners.iter().find(|owner| is_process(owner, pid))
    }

    /// The process in the summary.
    pub fn owner(&self, pid: &Value) -> &Value {
        let found = self.find(pid);
        found.unwrap_or_else(|| panic!("process {pid} is not in {}", self.summary()))
    }

    /// All owners in the summary.
    pub fn owners(&self) -> &[Value] {
        self.summary()["owners"].as_array().expect("owners")
    }

    /// The pools of a network namespace in the summary, TCP first.
    pub fn pools_of(&self, netns: u64) -> Vec<&Value> {
        let pools = self.pools().iter().filter(|pool| pool["netns"] == netns);
        let mut pools: Vec<_> = pools.collect();
        pools.sort_by_key(|pool| pool["protocol"].to_string());
        pools
    }

    /// All pools in the summary.
    pub fn pools(&self) -> &[Value] {
        self.summary()["pools"].as_array().expect("pools")
    }

    /// The verdicts that a process was given, in their order.
    pub fn verdicts(&self, pid: &Value) -> Vec<&str> {
        let findings = self.of_type("finding").filter(|it| is_process(it, pid));
        findings.filter_map(|it| it["verdict"].as_str()).collect()
    }

    /// Demands that a process did what it says.
    pub fn check(&self, report: &Value) {
        for protocol in ["tcp", "udp"] {
            for count in COUNTS {
                self.check_count(report, protocol, count, &report[protocol][count]);
            }
        }
    }

    /// Demands one figure of the process that made the report.
    pub fn check_count(&self, report: &Value, protocol: &str, count: &str, is: &Value) {
        let owner = self.owner(&report["pid"]);
        assert_eq!(
            &owner[protocol][count],
            is,
            "{protocol}.{count} of process {}: the tracer (left) says {}, the program {report}; \
             capture {}",
            report["pid"],
            owner[protocol],
            self.summary()["capture"]
        );
    }

    /// Demands that a server, which only accepted, is not charged for it.
    pub fn check_took_nothing(&self, report: &Value) {
        if let Some(owner) = self.find(&report["pid"]) {
            assert_eq!(owner["tcp"]["acquired"], 0, "accepted, not acquired");
            assert_eq!(owner["tcp"]["held"], 0, "accepted, not held");
        }
    }
}

fn parse(line: &str) -> Value {
    let value: Value =
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in the line {line:?}"));
    assert_eq!(value["schema"], 1, "the schema of {line}");
    assert!(value["type"].is_string(), "the type of {line}");
    assert!(value["at"].is_string(), "the time of {line}");
    value
}

fn is_process(line: &Value, pid: &Value) -> bool {
    line["owner"]["kind"] == "process" && &line["owner"]["pid"] == pid
}
