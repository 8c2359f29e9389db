//! What this machine has and may do: looking, and installing Debian's packages as root.

use crate::command;
use crate::toolchain::{self, Choice, Core, LLVM_MAJOR, Rustc, Seen, TARGET};
use anyhow::{Context, Result, bail};
use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Whether we are root.
pub(crate) fn is_root() -> bool {
    command::read(Command::new("id").arg("-u")).is_ok_and(|uid| uid == "0")
}

/// Whether we may install Debian packages: root, on Debian.
pub(crate) fn may_install() -> bool {
    is_root() && Path::new("/usr/bin/apt-get").exists()
}

/// The user's folder for what is worth keeping from one run to the next.
pub(crate) fn cache() -> Result<PathBuf> {
    cache_folder(env::var_os("XDG_CACHE_HOME"), env::var_os("HOME"))
}

fn cache_folder(cache: Option<OsString>, home: Option<OsString>) -> Result<PathBuf> {
    let home_cache = || home.map(|home| Path::new(&home).join(".cache"));
    // An empty or relative XDG_CACHE_HOME counts as unset (XDG base directory specification).
    let cache = cache.map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = cache.or_else(home_cache).context("HOME is not set")?;
    Ok(cache.join("portleak"))
}

/// Where LLVM lies: `LLVM_PREFIX`, or where Debian puts it.
pub(crate) fn llvm_prefix() -> PathBuf {
    let debian = format!("/usr/lib/llvm-{LLVM_MAJOR}");
    PathBuf::from(env::var_os("LLVM_PREFIX").unwrap_or_else(|| debian.into()))
}

/// The version of an installed Debian package. Debian rebuilds a compiler under the same version of
/// its own, so `rustc --version` is not enough to expect equal bytes.
pub(crate) fn debian_version(package: &str) -> Option<String> {
    command::read(Command::new("dpkg-query").args(["-W", "-f", "${Version}", package])).ok()
}

/// A compiler for the probes, after installing what was missing.
///
/// # Errors
/// When there is none and we may not install one: the text says what to type.
pub(crate) fn compiler() -> Result<(Rustc, Core)> {
    let seen = look();
    match toolchain::choose(&seen) {
        Choice::Use(rustc, core) => return Ok((rustc.clone(), core)),
        Choice::Install(packages) => install(&packages)?,
        Choice::Ask(packages) => bail!(toolchain::instructions(&packages)),
    }
    match toolchain::choose(&look()) {
        Choice::Use(rustc, core) => Ok((rustc.clone(), core)),
        Choice::Install(packages) | Choice::Ask(packages) => {
            bail!(toolchain::instructions(&packages))
        }
    }
}

fn look() -> Seen {
    let active = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let candidates = [PathBuf::from("/usr/bin/rustc"), PathBuf::from(active)];
    let llvm = llvm_prefix();
    let needed = ["bin/llvm-config", "bin/llvm-strip", "include/llvm-c/Core.h"];
    Seen {
        compilers: candidates.iter().filter_map(|path| rustc(path)).collect(),
        llvm: needed.iter().all(|file| llvm.join(file).exists()),
        may_install: may_install(),
    }
}

fn rustc(path: &Path) -> Option<Rustc> {
    // cargo points this at its own toolchain's libraries, which are not this compiler's.
    let ask = |args: &[&str]| command::read(Command::new(path).args(args).env_remove("LD_LIBRARY_PATH")).ok();
    let sysroot = PathBuf::from(ask(&["--print", "sysroot"])?);
    let rustc = Rustc::parse(path, &sysroot, &ask(&["-vV"])?)?;
    Some(Rustc { core: core_in(&sysroot), ..rustc })
}

fn core_in(sysroot: &Path) -> Option<Core> {
    let rustlib = sysroot.join("lib/rustlib");
    if has_compiled_core(&rustlib.join(TARGET).join("lib")) {
        Some(Core::Prebuilt)
    } else if rustlib.join("src/rust/library/core/Cargo.toml").exists() {
        Some(Core::FromSource)
    } else {
        None
    }
}

fn has_compiled_core(folder: &Path) -> bool {
    let Ok(entries) = fs::read_dir(folder) else {
        return false;
    };
    let mut names = entries.flatten().map(|entry| entry.file_name());
    names.any(|name| name.to_string_lossy().starts_with("libcore-"))
}

/// Python with its environments, for the programs of `tests/programs`, after installing it where we
/// may. Without it those programs are told as skipped.
pub(crate) fn python() -> Result<()> {
    let has_it = || command::read(Command::new("python3").args(["-c", "import ensurepip, ssl"])).is_ok();
    if has_it() || !may_install() {
        return Ok(());
    }
    install(&["python3-venv"])
}

/// Installs Debian packages. The package lists are fetched only when what is there will not do.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    eprintln!("installing {}", packages.join(" "));
    let install = || {
        let mut apt = apt_get();
        apt.args(["install", "--yes", "--no-install-recommends"]);
        command::run(apt.args(packages))
    };
    if install().is_ok() {
        return Ok(());
    }
    command::run(apt_get().arg("update"))?;
    install()
}

fn apt_get() -> Command {
    let mut apt = Command::new("apt-get");
    apt.arg("-q").env("DEBIAN_FRONTEND", "noninteractive");
    apt
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_the_users() {
        let folder = |cache: Option<&str>, home: Option<&str>| {
            cache_folder(cache.map(OsString::from), home.map(OsString::from)).ok()
        };
        assert_eq!(folder(Some("/c"), Some("/home/a")), Some("/c/portleak".into()));
        assert_eq!(folder(None, Some("/home/a")), Some("/home/a/.cache/portleak".into()));
        assert_eq!(folder(Some(""), Some("/home/a")), Some("/home/a/.cache/portleak".into()));
        assert_eq!(folder(None, None), None);
    }

    #[test]
    fn core_is_found_compiled_first_then_from_source() {
        let sysroot = tempfile::tempdir().unwrap();
        let rustlib = sysroot.path().join("lib/rustlib");
        assert_eq!(core_in(sysroot.path()), None);

        let source = rustlib.join("src/rust/library/core");
        fs::create_dir_all(&source).unwrap();
        fs::write(source.join("Cargo.toml"), "").unwrap();
        assert_eq!(core_in(sysroot.path()), Some(Core::FromSource));

        let compiled = rustlib.join(TARGET).join("lib");
        fs::create_dir_all(&compiled).unwrap();
        assert_eq!(core_in(sysroot.path()), Some(Core::FromSource));
        fs::write(compiled.join("libcore-0123.rlib"), "").unwrap();
        assert_eq!(core_in(sysroot.path()), Some(Core::Prebuilt));
    }
}
