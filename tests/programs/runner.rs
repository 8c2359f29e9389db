//! Starts all programs at once under one `portleak run`, each in a network namespace of its own.

use crate::table::{Needs, Row};
use portleak_tests::program;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long each program works, in seconds.
const SECONDS: &str = "75";
/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(150);

/// What a program said of itself.
pub(crate) struct Said {
    /// Its network namespace.
    pub(crate) netns: u64,
    /// Who is answerable for what leaks.
    pub(crate) owners: Vec<u64>,
}

/// Where everything is.
pub(crate) struct Runner {
    /// What the programs and portleak write.
    folder: PathBuf,
    /// Beside this test's executable.
    programs: PathBuf,
    sources: PathBuf,
    venv: PathBuf,
}

impl Runner {
    pub(crate) fn new() -> io::Result<Self> {
        let profile = program::profile_folder();
        let programs = program::own("programs");
        let folder = profile.join("programs-output"); // `programs` is the executable.
        let _ = fs::remove_dir_all(&folder); // Of the run before, if there was one.
        fs::create_dir_all(&folder)?;
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs/python");
        Ok(Self { folder, programs, sources, venv: profile.join("programs-venv") })
    }

    /// Why programs that need this cannot run here; `None` when they can.
    pub(crate) fn obstacle(&self, needs: Needs) -> Option<String> {
        let python =
            || Command::new("python3").arg("--version").output().map(|output| output.status.success());
        match needs {
            Needs::Nothing => None,
            Needs::Python if python().is_ok_and(|works| works) => None,
            Needs::Python => Some("python3 is not installed".to_owned()),
            Needs::PyPi => self.fetch_packages().err(),
        }
    }

    /// Puts the packages into an environment of their own; what is there already stays.
    fn fetch_packages(&self) -> Result<(), String> {
        let quietly = |command: &mut Command| -> Result<(), String> {
            let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
            let said = String::from_utf8_lossy(&output.stderr);
            let last = said.lines().last().unwrap_or("no reason given");
            if output.status.success() { Ok(()) } else { Err(format!("no packages of PyPI: {last}")) }
        };
        if !self.venv.join("bin/pip").is_file() {
            quietly(Command::new("python3").args(["-m", "venv"]).arg(&self.venv))?;
        }
        let mut pip = Command::new(self.venv.join("bin/pip"));
        pip.args(["install", "--quiet", "--disable-pip-version-check", "--timeout", "15", "--retries", "1"]);
        quietly(pip.arg("--requirement").arg(self.sources.join("requirements.txt")))
    }

    /// Runs them all; what portleak wrote.
    pub(crate) fn run(&self, rows: &[&Row]) -> Result<PathBuf, String> {
        let trace = self.folder.join("trace.jsonl");
        let mut portleak = Command::new(program::portleak());
        portleak.args(["run", "--format", "json", "--buffer", "16M", "--output"]).arg(&trace);
        portleak.arg("--record").arg(self.recording()).args(["--", "sh", "-c", &self.script(rows)]);
        let errors = File::create(self.folder.join("portleak.err")).map_err(|error| error.to_string())?;
        let child = portleak.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors).spawn();
        let mut child = child.map_err(|error| error.to_string())?;
        let patience_ends = Instant::now() + PATIENCE;
        while Instant::now() < patience_ends {
            if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
                let said = self.read("portleak.err");
                return if status.success() { Ok(trace) } else { Err(format!("portleak: {status}\n{said}")) };
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let _ = child.kill();
        let _ = child.wait();
        Err(format!("the programs did not end in {PATIENCE:?}"))
    }

    /// Keeps what was seen, to look at it again: `portleak replay`.
    pub(crate) fn recording(&self) -> PathBuf {
        self.folder.join("programs.plk")
    }

    fn script(&self, rows: &[&Row]) -> String {
        let mut script = rows.iter().map(|row| self.line(row)).collect::<String>();
        script.push_str("wait\n");
        script
    }

    /// Starts one in the background.
    fn line(&self, row: &Row) -> String {
        let (programs, folder) = (self.programs.display(), self.folder.display());
        let (name, file) = (row.name, row.name.trim_start_matches("py-"));
        let sources = self.sources.display();
        let command = match row.needs {
            Needs::Nothing => format!("'{programs}' {name} {SECONDS}"),
            Needs::Python => {
                format!("'{programs}' other {SECONDS} python3 '{sources}/standard.py' {file} {SECONDS}")
            }
            Needs::PyPi => format!(
                "'{programs}' other {SECONDS} '{}/bin/python3' '{sources}/clients.py' {file} {SECONDS}",
                self.venv.display()
            ),
        };
        format!("{command} > '{folder}/{name}.out' 2> '{folder}/{name}.err' &\n")
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder.join(name)).unwrap_or_default()
    }

    /// What a program said of itself; an error when it failed.
    pub(crate) fn said(&self, row: &Row) -> Result<Said, String> {
        let errors = self.read(&format!("{}.err", row.name));
        if !errors.is_empty() {
            let last: Vec<_> = errors.lines().rev().take(3).collect();
            return Err(format!("the program failed: {}", last.join(" | ")));
        }
        let text = self.read(&format!("{}.out", row.name));
        let numbers = |word: &str| -> Vec<u64> {
            text.lines().filter_map(|line| line.strip_prefix(word)?.trim().parse().ok()).collect()
        };
        let netns = numbers("netns ").first().copied().ok_or("the program did not start")?;
        Ok(Said { netns, owners: numbers("owner ") })
    }
}
