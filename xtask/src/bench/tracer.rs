//! A tracer in the background: portleak, or a peer that shows every connection.
//!
//! The surprise: tracers say nothing reliable about being ready, and write through buffers. What
//! the kernel holds for them does: their open BPF links and perf events.

use super::table::Cost;
use crate::command;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(20);
/// As long as this nothing more was attached: all is.
const SETTLED: Duration = Duration::from_millis(400);
/// Of `/proc/PID/stat`: the same on every Linux that Rust runs on.
const TICKS_PER_S: f64 = 100.0;

const BPFTRACE: &str = "tracepoint:sock:inet_sock_set_state /args->newstate == 7/ \
    { printf(\"%d %s %d %d\\n\", pid, comm, args->sport, args->dport); }";

/// Peers attach by way of tracefs, which need not be mounted: give them their own.
const WITH_TRACEFS: &str = "mount -t tracefs none /sys/kernel/tracing 2>/dev/null
    mount -t debugfs none /sys/kernel/debug 2>/dev/null
    exec \"$@\"";

/// A tracer to be measured.
pub(crate) struct Variant {
    /// Its name in the table.
    pub(crate) name: &'static str,
    arguments: Vec<String>,
    ready: Ready,
}

/// How to know that a tracer sees everything from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ready {
    /// Its output has its `start` line.
    StartLine,
    /// It has attached to the kernel and attaches nothing more.
    Attached,
}

impl Variant {
    /// portleak, tracing the whole machine.
    pub(crate) fn portleak(program: &Path) -> Self {
        let program = program.to_string_lossy().into_owned();
        let output = ["trace", "--format", "json", "--output"].map(str::to_owned);
        Self {
            name: "portleak",
            arguments: [program].into_iter().chain(output).collect(),
            ready: Ready::StartLine,
        }
    }

    /// portleak, and those peers that are installed here.
    pub(crate) fn on_this_machine(portleak: &Path) -> Vec<Self> {
        let mut variants = vec![Self::portleak(portleak)];
        let peers =
            [("bpftrace", vec!["/usr/bin/bpftrace", "-e", BPFTRACE]), ("tcplife", vec!["/usr/sbin/tcplife"])];
        for (name, words) in peers {
            if !Path::new(words[0]).exists() {
                eprintln!("{name} is left out: it is not installed");
                continue;
            }
            let wrapped = ["unshare", "--mount", "sh", "-c", WITH_TRACEFS, "sh"];
            let words = wrapped.into_iter().chain(words);
            variants.push(Self {
                name,
                arguments: words.map(str::to_owned).collect(),
                ready: Ready::Attached,
            });
        }
        variants
    }

    fn command(&self, output: &Path) -> Result<Command> {
        let (program, arguments) = self.arguments.split_first().context("a program")?;
        let mut command = Command::new(program);
        command.args(arguments);
        match self.ready {
            Ready::StartLine => command.arg(output).stdout(Stdio::null()),
            Ready::Attached => command.stdout(File::create(output)?),
        };
        Ok(command)
    }
}

/// A running tracer.
pub(crate) struct Tracer {
    process: Process,
    output: PathBuf,
    errors: PathBuf,
    /// Holds both files, and removes them.
    _folder: TempDir,
    /// CPU time that starting took.
    started_cpu_s: f64,
}

impl Tracer {
    /// Starts it and waits until it traces.
    pub(crate) fn start(variant: &Variant) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let output = folder.path().join("output");
        let errors = folder.path().join("errors");
        let mut command = variant.command(&output)?;
        command.stdin(Stdio::null()).stderr(File::create(&errors)?);
        let mut tracer = Self {
            process: Process(command.spawn().context("it does not start")?),
            output,
            errors,
            _folder: folder,
            started_cpu_s: 0.0,
        };
        tracer.wait_until_ready(variant.ready)?;
        tracer.started_cpu_s = tracer.process.cpu_s()?;
        Ok(tracer)
    }

    fn wait_until_ready(&mut self, ready: Ready) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let mut attached = (0, Instant::now());
        while Instant::now() < deadline {
            if let Some(status) = self.process.0.try_wait()? {
                bail!("it ended with {status}: {}", read(&self.errors).trim_end());
            }
            let count = self.process.attached();
            if count != attached.0 {
                attached = (count, Instant::now());
            }
            let is_ready = match ready {
                Ready::StartLine => find_type(&read(&self.output), "start").is_some(),
                Ready::Attached => count > 0 && attached.1.elapsed() > SETTLED,
            };
            if is_ready {
                return Ok(());
            }
            thread::sleep(PAUSE);
        }
        bail!("it does not trace after {} s", PATIENCE.as_secs())
    }

    /// Interrupts it as Ctrl-C does and says what it took.
    pub(crate) fn stop(self) -> Result<Cost> {
        let rss_mb = self.process.peak_rss_mb()?;
        command::run(Command::new("sh").args(["-c", "kill -INT $0"]).arg(self.process.id()))?;
        self.process.wait_until_ended()?;
        Ok(Cost {
            cpu_s: self.process.cpu_s()? - self.started_cpu_s,
            rss_mb,
            lost: lost(&read(&self.output), &read(&self.errors)),
        })
    }
}

/// A child process, ended when it is dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // Nothing to do about a failure: it has ended before.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    fn id(&self) -> String {
        self.0.id().to_string()
    }

    fn proc(&self, file: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{file}", self.0.id()))
    }

    fn stat(&self) -> Result<Stat> {
        let text = fs::read_to_string(self.proc("stat"))?;
        Stat::parse(&text).with_context(|| format!("an odd stat line: {text}"))
    }

    fn cpu_s(&self) -> Result<f64> {
        Ok(f64::from(self.stat()?.cpu_ticks) / TICKS_PER_S)
    }

    /// Until it is a zombie: its CPU time is final then, and still there to read.
    fn wait_until_ended(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while self.stat()?.state != 'Z' {
            if Instant::now() > deadline {
                bail!("a tracer does not end after an interrupt");
            }
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    fn peak_rss_mb(&self) -> Result<f64> {
        let status = fs::read_to_string(self.proc("status"))?;
        let kb = peak_rss_kb(&status).context("no VmHWM in /proc/PID/status")?;
        Ok(f64::from(kb) / 1024.0)
    }

    /// How many of its files are attachments to the kernel.
    fn attached(&self) -> usize {
        let Ok(files) = fs::read_dir(self.proc("fd")) else {
            return 0;
        };
        let targets = files.flatten().filter_map(|file| fs::read_link(file.path()).ok());
        targets.filter(|target| is_attachment(&target.to_string_lossy())).count()
    }
}

fn is_attachment(target: &str) -> bool {
    let kinds = ["bpf_link", "bpf-link", "perf_event", "bpf-raw-tracepoint"];
    target.starts_with("anon_inode:") && kinds.iter().any(|kind| target.contains(kind))
}

struct Stat {
    state: char,
    cpu_ticks: u32,
}

impl Stat {
    /// `4711 (a name) S …`: the name may hold spaces and parentheses. proc(5): field 3 is the state,
    /// 14 and 15 are the time in user and in system mode.
    fn parse(text: &str) -> Option<Self> {
        let (_, fields) = text.rsplit_once(") ")?;
        let fields: Vec<_> = fields.split(' ').collect();
        let ticks = |field: usize| fields.get(field - 3)?.parse::<u32>().ok();
        Some(Self { state: fields.first()?.chars().next()?, cpu_ticks: ticks(14)? + ticks(15)? })
    }
}

fn peak_rss_kb(status: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

/// Events lost: portleak's summary says it, and peers say `Lost 12 events` each time.
fn lost(output: &str, errors: &str) -> u64 {
    if let Some(summary) = find_type(output, "summary") {
        return summary["capture"]["lost"].as_u64().unwrap_or_default();
    }
    let said = output.lines().chain(errors.lines());
    said.filter_map(|line| {
        let line = line.to_ascii_lowercase();
        let (_, count) = line.split_once("lost ")?;
        let (count, _) = count.split_once(" events")?;
        count.parse::<u64>().ok()
    })
    .sum()
}

fn find_type(output: &str, kind: &str) -> Option<Value> {
    let objects = output.lines().filter(|line| line.starts_with('{'));
    let mut values = objects.filter_map(|line| serde_json::from_str::<Value>(line).ok());
    values.find(|value| value["type"] == kind)
}

fn read(path: &Path) -> String {
    // Not there yet is nothing said yet.
    fs::read(path).map_or_else(|_| String::new(), |bytes| String::from_utf8_lossy(&bytes).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_may_look_like_the_rest_of_its_line() {
        let line = "12 (a) R 1) Z 1 1 1 0 -1 4 0 0 0 0 30 12 0 0 20 0 1 0 99 0 0";
        let stat = Stat::parse(line).unwrap();
        assert_eq!((stat.state, stat.cpu_ticks), ('Z', 42));
    }

    #[test]
    fn the_peak_of_memory_is_read() {
        let status = "Name:\tx\nVmHWM:\t   12345 kB\nVmRSS:\t   100 kB\n";
        assert_eq!(peak_rss_kb(status), Some(12_345));
    }

    #[test]
    fn only_attachments_count() {
        assert!(is_attachment("anon_inode:bpf_link"));
        assert!(is_attachment("anon_inode:[perf_event]"));
        assert!(!is_attachment("anon_inode:bpf-map"));
        assert!(!is_attachment("/home/me/perf_event"));
    }

    #[test]
    fn losses_are_what_each_tool_says() {
        let summary = "{\"type\":\"start\"}\n{\"type\":\"summary\",\"capture\":{\"lost\":7}}\n";
        assert_eq!(lost(summary, ""), 7);
        assert_eq!(lost("Lost 12 events\n1 x 2 3\nLost 3 events\n", ""), 15);
        assert_eq!(lost("", "warning: lost 4 events on CPU #1\n"), 4);
        assert_eq!(lost("1 lost 2 3\n", ""), 0);
    }

    #[test]
    fn a_start_line_that_is_not_whole_yet_is_none() {
        assert_eq!(find_type("{\"type\":\"start\",\"capt", "start"), None);
        assert!(find_type("{\"type\":\"start\"}\n", "start").is_some());
    }
}
