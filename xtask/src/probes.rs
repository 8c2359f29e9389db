//! Building the kernel probes, the same bytes on every machine that has the same tools.
//!
//! The surprise: the compiler writes the paths of the checkout, of cargo's home and of its own
//! libraries into BTF line info, so each gets a fixed name. And the linker copies lines of the sources
//! into it, those of `core` as well if they are on the machine.

use crate::command;
use crate::linker::{self, Linker};
use crate::machine;
use crate::prebuilt::{self, Comparison, Record};
use crate::toolchain::{Core, Rustc, TARGET};
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const REBUILD: &str = "run `cargo xtask build-probes` and commit tracer-ebpf/prebuilt";

/// `build-probes`: compiles the probes to where they are committed.
pub(crate) fn build(root: &Path) -> Result<()> {
    let (object, record) = compile(root)?;
    prebuilt::write(root, &object, &record)?;
    println!("{} ({} bytes)", prebuilt::object_path(root).display(), object.len());
    print!("{record}");
    Ok(())
}

/// `check-probes`: is the committed object what the sources say?
pub(crate) fn check(root: &Path) -> Result<()> {
    let (object, committed) = prebuilt::read(root).context(REBUILD)?;
    let here = Record::of(root, &object, committed.tools.clone())?;
    ensure!(
        here.object == committed.object,
        "tracer-ebpf/prebuilt/versions.txt is about another object: {REBUILD}"
    );
    ensure!(
        here.sources == committed.sources,
        "the probes' sources changed after the committed object was built: {REBUILD}"
    );
    let (_, fresh) = compile(root)?;
    match committed.compare(&fresh) {
        Comparison::Equal => println!("the committed probes are what the sources say"),
        Comparison::Unequal => bail!("the same tools built other bytes: {REBUILD}"),
        Comparison::OtherTools(tools) => println!(
            "NOTE: the sources are those of the committed probes and they compile, but other tools \
             make other bytes, so the bytes are not compared:\n  {}",
            tools.join("\n  ")
        ),
    }
    Ok(())
}

fn compile(root: &Path) -> Result<(Vec<u8>, Record)> {
    let (rustc, core) = machine::compiler()?;
    let linker = linker::find_or_build()?;
    let target_dir = command::target_dir(root).join("probes");
    command::run(&mut cargo_build(root, &rustc, core, &linker, &target_dir)?)?;

    let linked = target_dir.join(TARGET).join("release/probes");
    let stripped = target_dir.join("probes.bpf.o");
    strip(&linked, &stripped)?;
    let object = fs::read(&stripped)?;
    refuse_paths(&object, &[root, &cargo_home()?])?;
    let record = Record::of(root, &object, tools(root, &rustc, core, &linker)?)?;
    Ok((object, record))
}

fn cargo_build(
    root: &Path,
    rustc: &Rustc,
    core: Core,
    linker: &Linker,
    target_dir: &Path,
) -> Result<Command> {
    let mut cargo = command::cargo(root);
    forget_settings(&mut cargo);
    cargo.args(["build", "--locked", "--release", "--target", TARGET]);
    cargo.args(["--package", "portleak-ebpf", "--bin", "probes", "--features", "probes"]);
    cargo.arg("--target-dir").arg(target_dir);
    cargo.arg("--config").arg(format!("target.{TARGET}.linker={:?}", linker.path.to_string_lossy()));
    if core == Core::FromSource {
        cargo.args(["-Z", "build-std=core"]);
    }
    cargo.env("RUSTC", &rustc.path);
    // aya-ebpf uses unstable features, and so does build-std.
    cargo.env("RUSTC_BOOTSTRAP", "1");
    cargo.env("CARGO_ENCODED_RUSTFLAGS", rustflags(root, rustc, target_dir)?);
    Ok(cargo)
}

/// What the user set for other builds, and the libraries of another compiler: none of it may change
/// the bytes.
fn forget_settings(cargo: &mut Command) {
    const SETTINGS: [&str; 5] = ["CARGO_BUILD_", "CARGO_PROFILE_", "LD_LIBRARY_PATH", "RUSTC_", "RUSTFLAGS"];
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if SETTINGS.iter().any(|setting| text.starts_with(setting)) {
            cargo.env_remove(name);
        }
    }
}

/// The last matching path wins, so the folders that may lie inside of others come last.
fn rustflags(root: &Path, rustc: &Rustc, target_dir: &Path) -> Result<String> {
    let mut flags = vec!["-Cdebuginfo=2".to_owned(), "-Clink-arg=--btf".to_owned()];
    let remap = |from: &Path, to| format!("--remap-path-prefix={}={to}", from.display());
    flags.push(remap(&rustc.sysroot, "/rust"));
    flags.push(remap(&cargo_home()?, "/cargo"));
    flags.push(remap(root, "/portleak"));
    flags.push(remap(target_dir, "/target"));
    Ok(flags.join("\x1f"))
}

fn cargo_home() -> Result<PathBuf> {
    let default = || env::home_dir().map(|home| home.join(".cargo"));
    let home = env::var_os("CARGO_HOME").map(PathBuf::from).or_else(default);
    home.context("HOME is not set")
}

/// Takes DWARF away and leaves BTF, which the kernel reads.
fn strip(linked: &Path, stripped: &Path) -> Result<()> {
    let llvm = machine::llvm_prefix().join("bin");
    let mut strip = Command::new(llvm.join("llvm-strip"));
    command::run(strip.arg("--strip-debug").arg("-o").args([stripped, linked]))?;
    let sections = Command::new(llvm.join("llvm-readelf")).arg("-SW").arg(stripped).output()?;
    let sections = String::from_utf8_lossy(&sections.stdout);
    for section in [" .BTF ", " .BTF.ext "] {
        ensure!(sections.contains(section), "the stripped object has no{section}section");
    }
    Ok(())
}

fn refuse_paths(object: &[u8], paths: &[&Path]) -> Result<()> {
    for path in paths {
        let path = path.as_os_str().as_encoded_bytes();
        let found = object.windows(path.len()).any(|bytes| bytes == path);
        let shown = String::from_utf8_lossy(path);
        ensure!(!found, "the object names a path of this machine: {shown}");
    }
    Ok(())
}

/// Everything that decides the bytes. cargo and the host are among it: both go into symbol names.
fn tools(root: &Path, rustc: &Rustc, core: Core, linker: &Linker) -> Result<BTreeMap<String, String>> {
    let llvm_config = machine::llvm_prefix().join("bin/llvm-config");
    let llvm = command::read(Command::new(llvm_config).arg("--version"))?;
    let prebuilt = (core == Core::Prebuilt).then_some("rustc-web");
    let tools = [
        ("bpf-linker", linker.version.clone()),
        ("cargo", command::read(command::cargo(root).arg("--version"))?),
        ("host", rustc.host.clone()),
        ("llvm", packaged(llvm, Some("llvm-22-dev"))),
        ("rustc", packaged(rustc.version.clone(), prebuilt)),
    ];
    let mut tools: BTreeMap<_, _> = tools.map(|(name, version)| (name.to_owned(), version)).into();
    // LLVM copies the lines that BTF refers to out of the sources, where they are at hand.
    if rustc.sysroot.join("lib/rustlib/src/rust/library/core").exists() {
        tools.insert("sources of core".to_owned(), "at hand".to_owned());
    }
    Ok(tools)
}

fn packaged(version: String, package: Option<&str>) -> String {
    match package.and_then(machine::debian_version) {
        Some(debian) => format!("{version}, Debian {debian}"),
        None => version,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_that_names_the_checkout_is_refused() {
        let paths = [Path::new("/home/me/portleak")];
        assert!(refuse_paths(b"..\0/portleak/tracer-ebpf/src/main.rs\0", &paths).is_ok());
        let error = refuse_paths(b"..\0/home/me/portleak/tracer-ebpf\0", &paths).unwrap_err();
        assert!(error.to_string().ends_with("/home/me/portleak"));
    }

    #[test]
    fn inner_folders_are_renamed_last() {
        let rustc = Rustc {
            path: "/usr/bin/rustc".into(),
            version: String::new(),
            host: String::new(),
            llvm_major: 22,
            sysroot: "/usr".into(),
            core: None,
        };
        let flags = rustflags(Path::new("/usr/src/p"), &rustc, Path::new("/usr/src/p/target"));
        let flags = flags.unwrap();
        let at = |to| flags.find(to).unwrap();
        assert!(at("/usr=/rust") < at("/usr/src/p=/portleak"));
        assert!(at("/usr/src/p=/portleak") < at("/usr/src/p/target=/target"));
    }
}
