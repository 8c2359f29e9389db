//! Runs portleak.exe on a scripted machine and reads what it and the stand-in have written.

use crate::listed::connections;
use portleak_tests::etl::encode::Release;
use portleak_tests::etl::machine::Machine;
use portleak_tests::etl::writer::Form;
use portleak_tests::plan::{Plan, VARIABLE};
use portleak_tests::program;
use portleak_tests::trace::Trace;
use serde_json::Value;
use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a program may take beyond what it was told to.
const PATIENCE: Duration = Duration::from_secs(90);

/// A machine's script and what the stand-in makes of it.
pub(crate) struct Scenario {
    folder: TempDir,
    pub(crate) plan: Plan,
}

/// What came of it.
pub(crate) struct Outcome {
    pub(crate) status: Option<i32>,
    /// Where standard output lies.
    pub(crate) output: PathBuf,
    /// Standard error.
    pub(crate) errors: String,
    /// Every call that the stand-in saw.
    pub(crate) calls: Vec<Value>,
}

impl Scenario {
    /// A machine with nothing but its script.
    pub(crate) fn new(script: impl FnOnce(&mut Machine)) -> Self {
        Self::with(Form::default(), script)
    }

    /// The same, its trace written in a form.
    pub(crate) fn with(form: Form, script: impl FnOnce(&mut Machine)) -> Self {
        let mut machine = Machine::with(Release::Win11V23H2, form);
        script(&mut machine);
        let folder = tempfile::tempdir().expect("a folder for the scenario");
        let (file, bytes) = (folder.path().join("trace.etl"), machine.end());
        fs::write(&file, &bytes).expect("room for a trace");
        let (trace, sockets) = (windows_path(&file), connections(&bytes));
        Self { folder, plan: Plan { trace, sockets, ..Plan::default() } }
    }

    /// The trace's file.
    pub(crate) fn trace(&self) -> PathBuf {
        self.folder.path().join("trace.etl")
    }

    /// Traces the machine for so long.
    pub(crate) fn trace_for(&self, seconds: u32) -> Outcome {
        self.run("json", &["trace", "--format", "json", "--duration", &format!("{seconds}s")])
    }

    /// The same, and beside it what a person would have read, into `target/windows/NAME.txt`.
    pub(crate) fn trace_and_show(&self, seconds: u32, name: &str) -> Outcome {
        let duration = format!("{seconds}s");
        thread::scope(|scope| {
            let shown = scope.spawn(|| self.run("text", &["trace", "--no-color", "--duration", &duration]));
            let outcome = self.trace_for(seconds);
            let shown = shown.join().expect("it ran as well");
            let folder = stage();
            let folder = folder.parent().expect("target/windows");
            fs::copy(&shown.output, folder.join(format!("{name}.txt"))).expect("room for a text");
            outcome
        })
    }

    /// What portleak says here of the same trace as a file.
    pub(crate) fn replayed(&self) -> Trace {
        let output = self.replayed_output();
        let mut portleak = Command::new(program::portleak());
        portleak.args(["replay", "--format", "json", "--output"]).arg(&output).arg(self.trace());
        assert!(portleak.status().expect("portleak runs").success());
        Trace::complete(&output)
    }

    /// Where it says so.
    pub(crate) fn replayed_output(&self) -> PathBuf {
        self.folder.path().join("replayed")
    }

    /// Runs portleak.exe to its end; every run of a scenario has a name of its own.
    pub(crate) fn run(&self, name: &str, arguments: &[&str]) -> Outcome {
        let file = |what: &str| self.folder.path().join(format!("{name}.{what}"));
        let plan = Plan { log: windows_path(&file("log")), ..self.plan.clone() };
        fs::write(file("plan"), serde_json::to_string(&plan).expect("a plan")).expect("room for a plan");
        let mut command = Command::new("wine");
        command.arg(stage().join("portleak.exe")).args(arguments);
        command.env(VARIABLE, windows_path(&file("plan"))).stdin(Stdio::null());
        command.stdout(File::create(file("out")).expect("a file for its output"));
        command.stderr(File::create(file("errors")).expect("a file for its errors"));
        let status = end(command.spawn().expect("wine starts"), seconds(arguments) + PATIENCE);
        let read = |what| fs::read_to_string(file(what)).unwrap_or_default();
        let calls = read("log");
        let calls = calls.lines().map(|line| serde_json::from_str(line).expect("a call in JSON")).collect();
        Outcome { status, output: file("out"), errors: read("errors"), calls }
    }
}

impl Outcome {
    /// What it said, after it ended well.
    pub(crate) fn said(&self) -> Trace {
        assert_eq!(self.status, Some(0), "{}", self.errors);
        Trace::complete(&self.output)
    }

    /// The calls of a function, in their order.
    pub(crate) fn calls_of(&self, function: &str) -> Vec<&Value> {
        self.calls.iter().filter(|call| call["call"] == function).collect()
    }

    /// What the session's controller was asked, in order: `query`, `flush`, `stop`.
    pub(crate) fn verbs(&self) -> Vec<&str> {
        self.calls_of("ControlTraceW").iter().filter_map(|call| call["verb"].as_str()).collect()
    }
}

/// What `cargo xtask windows` has laid out: the program in disguise and what it needs.
pub(crate) fn stage() -> PathBuf {
    let stage = env::var_os("PORTLEAK_WINE").expect("this needs `cargo xtask windows`");
    PathBuf::from(stage)
}

/// A path as Windows' programs write it: wine shows them the root folder as drive Z.
fn windows_path(path: &Path) -> String {
    format!("Z:{}", path.display())
}

/// The seconds that `--duration` was given.
fn seconds(arguments: &[&str]) -> Duration {
    let mut after = arguments.iter().skip_while(|argument| **argument != "--duration");
    let given = after.nth(1).and_then(|given| given.strip_suffix('s')?.parse().ok());
    Duration::from_secs(given.unwrap_or(0))
}

/// Waits for a program's end, or ends it.
fn end(mut child: Child, patience: Duration) -> Option<i32> {
    let patience_ends = Instant::now() + patience;
    while Instant::now() < patience_ends {
        if let Some(status) = child.try_wait().expect("asking for its status") {
            return status.code();
        }
        thread::sleep(Duration::from_millis(50));
    }
    child.kill().expect("it can be ended");
    child.wait().expect("it has ended");
    panic!("portleak.exe did not end in {patience:?}");
}
