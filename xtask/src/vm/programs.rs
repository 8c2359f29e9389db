//! The programs that run in the guest, with the libraries they need.
//!
//! In the guest every file lies where it lies here: tests know paths that were compiled into them.

use super::tools;
use crate::command;
use anyhow::{Context, Result};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Optimized, for all of it is emulated, and in one call of cargo.
const BUILD: [&str; 13] = [
    "build",
    "--profile=guest",
    "--locked",
    "--quiet",
    "--package=portleak",
    "--package=portleak-tests",
    "--bin=portleak",
    "--example=leak",
    "--bin=workload",
    "--test=differential",
    "--test=live",
    "--test=proof",
    "--message-format=json-render-diagnostics",
];

/// What goes into every guest, by its path there.
pub(crate) struct Programs {
    /// `portleak`.
    pub(crate) portleak: PathBuf,
    /// The live tests.
    pub(crate) live: PathBuf,
    /// The proof workloads.
    pub(crate) proof: PathBuf,
    /// Random operations, compared with the kernel.
    pub(crate) differential: PathBuf,
    /// Programs and libraries with their contents.
    pub(crate) files: Vec<(PathBuf, Vec<u8>)>,
}

impl Programs {
    /// Builds them.
    pub(crate) fn build(root: &Path) -> Result<Self> {
        println!("building what runs in the machines");
        let said = command::read(command::cargo(root).args(BUILD))?;
        let program =
            |name| executable(&said, name).with_context(|| format!("cargo built no program {name}"));
        let (portleak, leak, workload) = (program("portleak")?, program("leak")?, program("workload")?);
        let (live, proof, differential) = (program("live")?, program("proof")?, program("differential")?);
        let mut files = Vec::new();
        for path in [&portleak, &workload, &live, &proof, &differential] {
            files.push((path.clone(), stripped(path)?));
        }
        // A test wants to know its line of code.
        files.push((leak.clone(), fs::read(&leak)?));
        for tool in [tools::BUSYBOX, tools::IP] {
            files.push((tool.into(), fs::read(tool).context(tool)?));
        }
        let programs: Vec<_> = files.iter().map(|(path, _)| path.clone()).collect();
        for library in libraries(&programs)? {
            let data = fs::read(&library).with_context(|| library.display().to_string())?;
            files.push((library, data));
        }
        Ok(Self { portleak, live, proof, differential, files })
    }
}

/// One line of what cargo says with `--message-format=json`.
#[derive(Deserialize)]
struct Message {
    target: Option<Target>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

/// The program of that name among cargo's messages.
fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Message>(line).ok());
    messages
        .filter(|message| message.target.as_ref().is_some_and(|target| target.name == name))
        .find_map(|message| message.executable)
}

/// A program without what only a debugger wants: most of it.
fn stripped(program: &Path) -> Result<Vec<u8>> {
    let folder = tempfile::tempdir()?;
    let to = folder.path().join("program");
    let mut strip = Command::new("strip");
    strip.arg("--strip-debug").arg("-o").arg(&to).arg(program);
    command::read(&mut strip)?;
    Ok(fs::read(to)?)
}

fn libraries(programs: &[PathBuf]) -> Result<BTreeSet<PathBuf>> {
    let mut libraries = BTreeSet::new();
    for program in programs {
        let output = Command::new("ldd").arg(program).output().context("cannot start ldd")?;
        // It fails for a static program, which needs none.
        let said = String::from_utf8_lossy(&output.stdout);
        libraries.extend(paths(&said).map(PathBuf::from));
    }
    Ok(libraries)
}

/// The files in what ldd says: `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f…)`.
fn paths(ldd: &str) -> impl Iterator<Item = &str> {
    let words = ldd.lines().flat_map(|line| line.split_whitespace());
    words.filter(|word| word.starts_with('/') && !word.ends_with(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_and_the_loader_are_found() {
        let said = "\tlinux-vdso.so.1 (0x00007ffc)\n\
                    \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f3a)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f3b)\n";
        let found: Vec<_> = paths(said).collect();
        assert_eq!(found, ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"]);
        assert_eq!(paths("\tnot a dynamic executable\n").count(), 0);
    }

    #[test]
    fn the_program_is_found_among_the_libraries() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"portleak"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"live"},"executable":"/t/debug/deps/live-01"}
{"reason":"build-finished","success":true}
"#;
        assert_eq!(executable(messages, "live"), Some("/t/debug/deps/live-01".into()));
        assert_eq!(executable(messages, "portleak"), None);
    }
}
