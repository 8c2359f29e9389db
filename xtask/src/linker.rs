//! bpf-linker: one pinned version, built once per user and kept in the cache.

use crate::command;
use crate::machine;
use crate::toolchain::{self, LLVM_MAJOR};
use anyhow::{Result, bail};
use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The pinned version; the cache is keyed by it.
const VERSION: &str = "0.13.0";

/// A working bpf-linker.
pub(crate) struct Linker {
    /// The program.
    pub(crate) path: PathBuf,
    /// What it says its version is.
    pub(crate) version: String,
}

/// Finds bpf-linker in the cache or builds it there (about 90 s).
pub(crate) fn find_or_build() -> Result<Linker> {
    let folder = machine::cache()?.join(format!("bpf-linker-{VERSION}"));
    let path = folder.join("bin/bpf-linker");
    if let Ok(version) = version(&path) {
        return Ok(Linker { path, version });
    }
    build(&folder)?;
    let version = version(&path)?;
    Ok(Linker { path, version })
}

fn version(linker: &Path) -> Result<String> {
    command::read(Command::new(linker).arg("--version"))
}

fn build(folder: &Path) -> Result<()> {
    eprintln!("building bpf-linker {VERSION} into {}", folder.display());
    let prefix = machine::llvm_prefix();
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["install", "bpf-linker", "--version", VERSION, "--locked"]);
    cargo.args(["--no-default-features", "--features"]);
    cargo.arg(format!("llvm-{LLVM_MAJOR}"));
    cargo.arg("--force").arg("--root").arg(folder);
    cargo.env("PATH", path_with(&prefix.join("bin"))?);
    cargo.env("LLVM_PREFIX", prefix);
    cargo.env_remove("CARGO_TARGET_DIR");
    if command::run(&mut cargo).is_err() {
        let packages = toolchain::LLVM_PACKAGES;
        bail!("cannot build bpf-linker; {}", toolchain::instructions(&packages));
    }
    Ok(())
}

/// PATH with `folder` in front: bpf-linker's build asks the first llvm-config it meets.
fn path_with(folder: &Path) -> Result<OsString> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(folder.to_owned()).chain(env::split_paths(&path));
    Ok(env::join_paths(folders)?)
}
