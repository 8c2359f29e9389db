//! Which compiler builds for Windows: a pure choice among what this machine has.
//!
//! The surprise: no Debian package has a compiled standard library for Windows that is new enough, but
//! Debian's newest compiler comes with the sources of one, and cargo compiles those like any other crate.

use crate::command;
use anyhow::{Result, bail};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The target: linked by MinGW, so that nothing of Microsoft's is needed.
pub(super) const TARGET: &str = "x86_64-pc-windows-gnu";

/// Set to `compiled` or `source`, it allows but one way to come by the standard library.
const STD: &str = "PORTLEAK_WINDOWS_STD";

/// Debian packages of a compiler that brings the sources of its standard library.
pub(super) const PACKAGES: [&str; 3] = ["rustc-web", "rust-web-src", "rust-web-clippy"];

/// Where the standard library for Windows comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Std {
    /// It lies compiled in the sysroot (`rustup target add`).
    Compiled,
    /// Its sources lie in the sysroot (Debian's `rust-web-src`, rustup's `rust-src`).
    FromSource,
}

/// A compiler that can build for Windows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Compiler {
    /// Where it lies, with its libraries.
    pub(super) sysroot: PathBuf,
    /// How it comes by the standard library.
    pub(super) std: Std,
}

/// The first of these with a compiled standard library, or else the first that has its sources.
pub(super) fn choose(seen: &[Compiler]) -> Option<&Compiler> {
    let with = |std| seen.iter().find(|compiler| compiler.std == std);
    with(Std::Compiled).or_else(|| with(Std::FromSource))
}

/// The compilers of this machine that can build for Windows: the active one, and Debian's.
///
/// # Errors
/// When the environment asks for a way that is none.
pub(super) fn look() -> Result<Vec<Compiler>> {
    let wanted = match env::var(STD).as_deref() {
        Err(_) => None,
        Ok("compiled") => Some(Std::Compiled),
        Ok("source") => Some(Std::FromSource),
        Ok(other) => bail!("{STD} is `compiled` or `source`, not `{other}`"),
    };
    let active = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let sysroots = [PathBuf::from(active), PathBuf::from("/usr/bin/rustc")].map(|rustc| sysroot(&rustc));
    let compilers = sysroots.into_iter().flatten().flat_map(|sysroot| compilers_in(&sysroot));
    Ok(compilers.filter(|compiler| wanted.is_none_or(|std| compiler.std == std)).collect())
}

fn sysroot(rustc: &Path) -> Option<PathBuf> {
    // cargo points this at its own toolchain's libraries, which are not this compiler's.
    let mut ask = Command::new(rustc);
    ask.args(["--print", "sysroot"]).env_remove("LD_LIBRARY_PATH");
    command::read(&mut ask).ok().map(PathBuf::from)
}

fn compilers_in(sysroot: &Path) -> Vec<Compiler> {
    let rustlib = sysroot.join("lib/rustlib");
    let has = |std| match std {
        Std::Compiled => has_library(&rustlib.join(TARGET).join("lib")),
        Std::FromSource => rustlib.join("src/rust/library/std/Cargo.toml").exists(),
    };
    let ways = [Std::Compiled, Std::FromSource].into_iter().filter(|&std| has(std));
    let lints = sysroot.join("bin/clippy-driver").exists();
    ways.filter(|_| lints).map(|std| Compiler { sysroot: sysroot.to_owned(), std }).collect()
}

fn has_library(folder: &Path) -> bool {
    let names = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
    names.into_iter().any(|name| name.to_string_lossy().starts_with("libstd-"))
}

impl Compiler {
    /// A cargo command for Windows, its results in `target_dir`.
    pub(super) fn cargo(&self, root: &Path, target_dir: &Path, subcommand: &str) -> Command {
        let mut cargo = command::cargo(root);
        cargo.args([subcommand, "--locked", "--target", TARGET]);
        cargo.arg("--target-dir").arg(target_dir);
        cargo.env("RUSTC", self.sysroot.join("bin/rustc")).env_remove("LD_LIBRARY_PATH");
        if self.std == Std::FromSource {
            // Stable compilers hide build-std. Named each time, `test` is no reason to compile all anew.
            cargo.arg("-Zbuild-std=std,panic_unwind,test").env("RUSTC_BOOTSTRAP", "1");
        }
        cargo
    }

    /// What `cargo clippy -- -D warnings` does, but with this compiler's clippy.
    pub(super) fn clippy(&self, root: &Path, target_dir: &Path) -> Command {
        let mut cargo = self.cargo(root, target_dir, "check");
        cargo.env("RUSTC_WORKSPACE_WRAPPER", self.sysroot.join("bin/clippy-driver"));
        cargo.env("CLIPPY_ARGS", "-Dwarnings");
        cargo
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(sysroot: &Path, file: &str) {
        let file = sysroot.join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, "").unwrap();
    }

    #[test]
    fn a_sysroot_offers_what_lies_in_it() {
        let sysroot = tempfile::tempdir().unwrap();
        let ways = || compilers_in(sysroot.path()).iter().map(|compiler| compiler.std).collect::<Vec<_>>();
        touch(sysroot.path(), "lib/rustlib/src/rust/library/std/Cargo.toml");
        assert_eq!(ways(), [], "without clippy it is of no use");
        touch(sysroot.path(), "bin/clippy-driver");
        assert_eq!(ways(), [Std::FromSource]);
        touch(sysroot.path(), "lib/rustlib/x86_64-pc-windows-gnu/lib/libstd-0123.rlib");
        assert_eq!(ways(), [Std::Compiled, Std::FromSource]);
    }

    #[test]
    fn a_compiled_library_goes_before_sources() {
        let source = Compiler { sysroot: "/usr".into(), std: Std::FromSource };
        let compiled = Compiler { sysroot: "/rustup".into(), std: Std::Compiled };
        assert_eq!(choose(&[source.clone(), compiled.clone()]), Some(&compiled));
        assert_eq!(choose(std::slice::from_ref(&source)), Some(&source));
        assert_eq!(choose(&[]), None);
    }
}
