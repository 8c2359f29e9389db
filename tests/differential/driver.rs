//! The workload's random processes, in a namespace of their own.

use crate::kernel::{self, Kernel};
use portleak::source::linux::kernel::clock::boot_ns;
use portleak::source::linux::kernel::netns::Namespace;
use portleak_tests::workload::workload;
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

/// The processes of one seed.
pub(crate) struct Driver {
    began_ns: u64,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    pids: Vec<u32>,
    history: Vec<String>,
}

impl Driver {
    pub(crate) fn start(seed: u64) -> Self {
        let mut command = workload();
        command.args(["random", "--seed", &seed.to_string()]);
        let began_ns = boot_ns();
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.expect("the workload starts");
        let input = child.stdin.take().expect("its standard input");
        let output = BufReader::new(child.stdout.take().expect("its standard output"));
        Self { began_ns, child, input, output, pids: Vec::new(), history: Vec::new() }
    }

    /// Waits until every process has done its steps; false if there are none to come.
    pub(crate) fn stands_still(&mut self) -> bool {
        self.pids.clear();
        loop {
            let mut line = String::new();
            self.output.read_line(&mut line).expect("the workload's output");
            match line.trim_end() {
                "" => return line.ends_with('\n'),
                report => self.note(report),
            }
        }
    }

    fn note(&mut self, report: &str) {
        let report: Value = serde_json::from_str(report).expect("a report");
        let pid = report["pid"].as_u64().and_then(|pid| pid.try_into().ok()).expect("a pid");
        self.pids.push(pid);
        let did = report["did"].as_array().into_iter().flatten().filter_map(Value::as_str);
        self.history.extend(did.map(|what| format!("{pid}: {what}")));
    }

    /// Lets them do the next steps.
    pub(crate) fn proceed(&mut self) {
        self.input.write_all(b"\n").expect("the workload waits");
    }

    /// What the kernel says of their namespace.
    pub(crate) fn kernel(&self) -> Kernel {
        let path = PathBuf::from(format!("/proc/{}/ns/net", self.child.id()));
        let namespace = Namespace::open(&path).expect("the workload's namespace");
        kernel::look(&namespace, self.began_ns, &self.pids)
    }

    /// All operations so far, in the order of their reports: processes work side by side.
    pub(crate) fn history(&self) -> String {
        self.history.join("\n")
    }

    pub(crate) fn end(mut self) {
        drop(self.input);
        let status = self.child.wait().expect("the workload ends");
        assert!(status.success(), "the workload ended with {status}");
    }
}
