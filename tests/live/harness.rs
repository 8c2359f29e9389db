//! Starts the tracer and the workloads, and never waits without a bound.

use portleak_tests::program;
use portleak_tests::trace::Trace;
use portleak_tests::workload::require_root;
use serde_json::Value;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long anything that should be quick may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// How long the tracer may take to attach.
const START_MAX: Duration = Duration::from_secs(20);

static MACHINE: RwLock<()> = RwLock::new(());

/// The machine for this test alone.
pub(crate) fn alone() -> RwLockWriteGuard<'static, ()> {
    MACHINE.write().unwrap_or_else(PoisonError::into_inner)
}

/// The machine together with other patient tests.
pub(crate) fn shared() -> RwLockReadGuard<'static, ()> {
    MACHINE.read().unwrap_or_else(PoisonError::into_inner)
}

/// Polls until `check` has an answer.
pub(crate) fn until<T>(what: &str, bound: Duration, mut check: impl FnMut() -> Option<T>) -> T {
    let patience_ends = Instant::now() + bound;
    loop {
        if let Some(answer) = check() {
            return answer;
        }
        assert!(Instant::now() < patience_ends, "waited {bound:?} in vain for {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A command of portleak.
pub(crate) fn portleak(arguments: &[&str]) -> Command {
    require_root();
    let mut command = Command::new(program::portleak());
    command.args(arguments);
    command
}

/// Where the workload program is.
pub(crate) fn workload_path() -> PathBuf {
    program::own("workload")
}

/// A child process that does not outlive its test.
pub(crate) struct Process(Child);

impl Process {
    /// Starts it.
    pub(crate) fn start(command: &mut Command) -> Self {
        let child = command.spawn();
        Self(child.unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    /// Its standard output, which must have been piped.
    pub(crate) fn stdout(&mut self) -> ChildStdout {
        self.0.stdout.take().expect("its standard output, piped")
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().expect("asking for its status")
    }

    /// Waits until it has ended.
    pub(crate) fn end(&mut self, what: &str, bound: Duration) -> ExitStatus {
        until(&format!("{what} to end"), bound, || self.ended())
    }

    /// Interrupts it as Ctrl-C does.
    pub(crate) fn interrupt(&self) {
        let pid = libc::pid_t::try_from(self.0.id()).expect("a pid");
        // SAFETY: kill takes numbers; the child is not reaped yet, so the pid is still its own.
        let sent = unsafe { libc::kill(pid, libc::SIGINT) };
        assert_eq!(sent, 0, "interrupting process {pid}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail when it has ended already, which is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `portleak trace`, attached.
pub(crate) struct Tracer {
    process: Process,
    files: TempDir,
}

impl Tracer {
    /// Starts it and waits for its `start` line.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let files = tempfile::tempdir().expect("a directory for the output");
        let errors = File::create(files.path().join("errors")).expect("a file for the errors");
        let mut command = portleak(&["trace", "--format", "json"]);
        command
            .arg("--output")
            .arg(files.path().join("output"))
            .args(arguments)
            .stdin(Stdio::null())
            .stderr(errors);
        let process = Process::start(&mut command);
        let mut tracer = Self { process, files };
        until("the tracer's start line", START_MAX, || tracer.attached());
        tracer
    }

    /// Its pid.
    pub(crate) fn pid(&self) -> u32 {
        self.process.0.id()
    }

    fn attached(&mut self) -> Option<()> {
        if let Some(status) = self.process.ended() {
            panic!("portleak did not start: {status}\n{}", self.errors());
        }
        Trace::so_far(&self.output()).started().then_some(())
    }

    /// Waits until its output says something.
    pub(crate) fn wait_for<T>(&self, what: &str, bound: Duration, check: impl Fn(&Trace) -> Option<T>) -> T {
        until(what, bound, || check(&Trace::so_far(&self.output())))
    }

    /// Ends it as Ctrl-C does; it must say nothing but success.
    pub(crate) fn finish(self) -> Trace {
        self.finish_with(0)
    }

    /// The same, and keeps what it said.
    pub(crate) fn finish_keeping(self, output: &Path) -> Trace {
        fs::hard_link(self.output(), output).expect("a name for the output");
        self.finish()
    }

    /// The same, with the exit code that it must end with.
    pub(crate) fn finish_with(mut self, code: i32) -> Trace {
        self.process.interrupt();
        let status = self.process.end("portleak", PATIENCE);
        assert_eq!(status.code(), Some(code), "portleak ended with {status}\n{}", self.errors());
        Trace::complete(&self.output())
    }

    fn output(&self) -> PathBuf {
        self.files.path().join("output")
    }

    fn errors(&self) -> String {
        read_or_empty(&self.files.path().join("errors"))
    }
}

fn read_or_empty(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// A workload in a network namespace of its own.
pub(crate) struct Workload {
    process: Process,
    lines: Receiver<String>,
}

impl Workload {
    /// Starts it.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_by(Command::new(workload_path()), arguments)
    }

    /// Starts it by a command that becomes the workload.
    pub(crate) fn start_by(mut command: Command, arguments: &[&str]) -> Self {
        command.arg("--own-netns").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Process::start(&mut command);
        let lines = lines_of(process.stdout(), usize::MAX);
        Self { process, lines }
    }

    /// The pid of the process that was started.
    pub(crate) fn pid(&self) -> Value {
        self.process.0.id().into()
    }

    /// The inode number of its network namespace, once it is in its own.
    pub(crate) fn netns(&self) -> u64 {
        let of = |who: &str| fs::metadata(format!("/proc/{who}/ns/net")).expect("a live process").ino();
        let pid = self.process.0.id().to_string();
        until("the workload's namespace", PATIENCE, || (of(&pid) != of("self")).then(|| of(&pid)))
    }

    /// Says that its observer is there, for a workload that waits for that.
    pub(crate) fn observe(&mut self) {
        let input = self.process.0.stdin.as_mut().expect("its standard input, piped");
        input.write_all(b"\n").expect("the workload reads");
    }

    /// Waits for the reports of so many processes.
    pub(crate) fn reports(&self, processes: usize, bound: Duration) -> Vec<Value> {
        let patience_ends = Instant::now() + bound;
        let next = || {
            let left = patience_ends.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left);
            parse_report(&line.expect("a report of the workload in time"))
        };
        std::iter::repeat_with(next).take(processes).collect()
    }

    /// The report of the only client, after the one of its server.
    pub(crate) fn client_of_server(&self) -> Value {
        self.reports(2, PATIENCE).remove(1)
    }

    /// Lets it close everything and end.
    pub(crate) fn end(mut self) {
        drop(self.process.0.stdin.take());
        let status = self.process.end("the workload", PATIENCE);
        assert!(status.success(), "the workload ended with {status}");
    }
}

/// One line of a workload's output.
pub(crate) fn parse_report(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in the report {line:?}"))
}

/// At most so many lines as they come, then closes the pipe. A thread reads them, so that waiting
/// for them can be bounded.
pub(crate) fn lines_of(output: ChildStdout, most: usize) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(output).lines().take(most).map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}
