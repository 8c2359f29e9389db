//! `cargo xtask windows`: portleak.exe, built here and run under wine.
//!
//! The surprise: wine has no event tracing, so the program runs with a stand-in for those functions
//! (`tests/wine/fakewin`), which plays scripted traces and notes what it was asked for. What
//! Windows itself does with the same calls is not tested by this.

mod compiler;
mod import_patch;
mod tools;
mod wine;

use crate::command;
use crate::suites::{self, Counts, Suite};
use anyhow::{Context, Result, ensure};
use compiler::{Compiler, TARGET};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use wine::Wine;

/// The tests that are portable and run under wine as they are.
const PORTABLE: [&str; 11] = [
    "--package",
    "portleak",
    "--package",
    "portleak-tests",
    "--lib",
    "--test",
    "etl",
    "--test",
    "cli",
    "--test",
    "replay",
];

/// What became of the tests.
#[derive(Debug, Default)]
pub(crate) struct Tested {
    /// Tests built for Windows.
    pub(crate) portable: Counts,
    /// `tests/wine`, which runs here and the program under wine.
    pub(crate) scenarios: Vec<Suite>,
}

impl Tested {
    /// How many tests failed.
    pub(crate) fn failed(&self) -> u32 {
        self.sum().failed
    }

    fn sum(&self) -> Counts {
        suites::sum(&self.scenarios, &[]).plus(self.portable)
    }
}

/// Builds and tests all, or only the scenarios named; the last line is the sum, alone.
pub(crate) fn run(root: &Path, scenarios: &[String]) -> Result<ExitCode> {
    let lab = Lab::open(root)?;
    let tested = if scenarios.is_empty() {
        lab.test_all()?
    } else {
        Tested { scenarios: lab.test_scenarios(scenarios)?, ..Tested::default() }
    };
    let Counts { passed, failed, skipped } = tested.sum();
    ensure!(passed + failed > 0, "no scenario has {} in its name", scenarios.join(" or "));
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    Ok(ExitCode::from(u8::from(failed > 0)))
}

/// The same, if this machine can. Where it cannot, the portable tests count as one that was skipped;
/// the scenarios count as such already.
pub(crate) fn test_if_possible(root: &Path) -> Result<Tested> {
    match tools::lacking()? {
        None => Lab::open(root)?.test_all(),
        Some(why) => {
            println!("SKIPPED: Windows: {why}");
            let portable = Counts { skipped: 1, ..Counts::default() };
            Ok(Tested { portable, ..Tested::default() })
        }
    }
}

/// Where all of it happens.
#[derive(Debug)]
struct Lab<'a> {
    root: &'a Path,
    compiler: Compiler,
    folder: PathBuf,
    wine: Wine,
}

impl<'a> Lab<'a> {
    fn open(root: &'a Path) -> Result<Self> {
        let compiler = tools::install_missing()?;
        println!("compiling with {} ({:?} standard library)", compiler.sysroot.display(), compiler.std);
        let folder = command::target_dir(root).join("windows");
        let wine = Wine::open(root, &folder)?;
        Ok(Self { root, compiler, folder, wine })
    }

    /// # Errors
    /// When the project does not build, or clippy has something to say; failed tests are counted.
    fn test_all(&self) -> Result<Tested> {
        let mut clippy = self.compiler.clippy(self.root, &self.build());
        command::run(clippy.args(["--workspace", "--exclude", "xtask", "--all-targets"]))?;
        Ok(Tested { portable: self.test_portable()?, scenarios: self.test_scenarios(&[])? })
    }

    fn test_portable(&self) -> Result<Counts> {
        self.build_program()?;
        let mut cargo = self.cargo("test");
        cargo.arg("--no-fail-fast").args(PORTABLE).env("CARGO_TERM_COLOR", "never");
        // Tests have the cargo that started them build portleak; from wine they cannot.
        cargo.env("CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER", "env --unset=CARGO wine");
        Ok(suites::sum(&self.suites(cargo)?, &[]))
    }

    fn test_scenarios(&self, names: &[String]) -> Result<Vec<Suite>> {
        self.build_program()?;
        command::run(self.cargo("build").args(["--package", "fakewin"]))?;
        println!("portleak.exe: {}", self.built("portleak.exe").display());
        let mut cargo = command::cargo(self.root);
        cargo.args(["test", "--locked", "--package", "portleak-tests", "--test", "wine"]);
        // They wait for what is played in real time, so all may run at once.
        cargo.args(["--", "--include-ignored", "--show-output", "--test-threads=16"]).args(names);
        cargo.env("CARGO_TERM_COLOR", "never").env("PORTLEAK_WINE", self.stage()?);
        self.suites(cargo)
    }

    /// What became of tests. One that dies leaves no result to count: then cargo's word must do.
    fn suites(&self, mut cargo: Command) -> Result<Vec<Suite>> {
        self.wine.settle(&mut cargo);
        let said = command::run_teed(cargo)?;
        let suites = suites::parse(&said.output);
        ensure!(said.success || suites.iter().any(|suite| suite.counts.failed > 0), "the tests did not end");
        Ok(suites)
    }

    fn build_program(&self) -> Result<()> {
        command::run(self.cargo("build").args(["--package", "portleak", "--bin", "portleak"]))
    }

    fn cargo(&self, subcommand: &str) -> Command {
        self.compiler.cargo(self.root, &self.build(), subcommand)
    }

    fn build(&self) -> PathBuf {
        self.folder.join("build")
    }

    fn built(&self, file: &str) -> PathBuf {
        self.build().join(TARGET).join("debug").join(file)
    }

    /// A folder with the patched program and the libraries that it imports now.
    fn stage(&self) -> Result<PathBuf> {
        let stage = self.folder.join("stage");
        fs::create_dir_all(&stage)?;
        let read = |file: PathBuf| fs::read(&file).with_context(|| file.display().to_string());
        let fakewin = read(self.built("fakewin.dll"))?;
        let patched = import_patch::patch(&read(self.built("portleak.exe"))?, &fakewin)?;
        fs::write(stage.join("portleak.exe"), patched.exe)?;
        fs::write(stage.join("fakewin.dll"), fakewin)?;
        let exports = stage.join("fake.def");
        fs::write(&exports, patched.exports)?;
        let mut gcc = Command::new(tools::GCC);
        gcc.args(["-shared", "-nostdlib", "-Wl,--entry=0", "-o"])
            .arg(stage.join(import_patch::LIBRARY))
            .arg(exports);
        command::run(&mut gcc)?;
        Ok(stage)
    }
}
