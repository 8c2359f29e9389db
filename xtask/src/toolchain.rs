//! Which compiler builds the probes: a pure choice among what this machine has.
//!
//! The surprise: stable Rust cannot build them, for no rustup toolchain carries a compiled `core` for
//! BPF. Debian's `rustc-web` does; any other compiler must bring the sources of `core`.

use std::path::{Path, PathBuf};

/// The target of the probes.
pub(crate) const TARGET: &str = "bpfel-unknown-none";

/// The LLVM that bpf-linker is built with. It reads the bitcode of this one and of older ones.
pub(crate) const LLVM_MAJOR: u32 = 22;

/// Debian packages of the compiler.
const RUSTC_PACKAGES: [&str; 2] = ["rustc-web", "libstd-rust-web-dev-bpf"];

/// Debian packages that bpf-linker is built with.
pub(crate) const LLVM_PACKAGES: [&str; 5] = [
    "llvm-22-dev",
    "libpolly-22-dev",
    "zlib1g-dev",
    "libzstd-dev",
    "libxml2-dev",
];

/// A compiler of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rustc {
    /// The program.
    pub(crate) path: PathBuf,
    /// What `rustc --version` says.
    pub(crate) version: String,
    /// The machine it runs on; it goes into symbol names.
    pub(crate) host: String,
    /// Major number of its LLVM.
    pub(crate) llvm_major: u32,
    /// Where its libraries lie.
    pub(crate) sysroot: PathBuf,
    /// How it can get at `core` for the probes' target, if at all.
    pub(crate) core: Option<Core>,
}

/// Where `core` for the probes' target comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Core {
    /// It lies compiled in the sysroot (Debian's `libstd-rust-web-dev-bpf`).
    Prebuilt,
    /// Its sources lie in the sysroot (rustup's `rust-src`): `-Z build-std=core`.
    FromSource,
}

/// What this machine has.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Its compilers.
    pub(crate) compilers: Vec<Rustc>,
    /// Whether the LLVM that bpf-linker needs is there.
    pub(crate) llvm: bool,
    /// Whether we may install Debian packages: root, on Debian.
    pub(crate) may_install: bool,
}

/// What to do about a compiler.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Choice<'a> {
    /// Compile with this one.
    Use(&'a Rustc, Core),
    /// Install these packages, then look again.
    Install(Vec<&'static str>),
    /// Stop, and tell the user to install these packages or their like.
    Ask(Vec<&'static str>),
}

/// Chooses the compiler: a compiled `core` before one from source, what is there before what must
/// be installed.
pub(crate) fn choose(seen: &Seen) -> Choice<'_> {
    let with = |core| {
        let fits = move |rustc: &&Rustc| rustc.core == Some(core) && rustc.llvm_major <= LLVM_MAJOR;
        let found = seen.compilers.iter().find(fits);
        found.map(|rustc| (rustc, core))
    };
    let compiler = with(Core::Prebuilt).or_else(|| with(Core::FromSource));
    if let (Some((rustc, core)), true) = (compiler, seen.llvm) {
        return Choice::Use(rustc, core);
    }
    let mut packages = Vec::new();
    if compiler.is_none() {
        packages.extend(RUSTC_PACKAGES);
    }
    if !seen.llvm {
        packages.extend(LLVM_PACKAGES);
    }
    if seen.may_install {
        Choice::Install(packages)
    } else {
        Choice::Ask(packages)
    }
}

/// What to type where we may not install.
pub(crate) fn instructions(packages: &[&str]) -> String {
    format!(
        "tools to build the probes are missing. On Debian 12 or later type\n\
         \n    sudo apt-get install --no-install-recommends {}\n\n\
         Elsewhere install LLVM {LLVM_MAJOR} with its headers, set LLVM_PREFIX to where it lies, and type\n\
         \n    rustup component add rust-src\n",
        packages.join(" ")
    )
}

impl Rustc {
    /// Reads what `rustc -vV` says; `core` is for the caller to find in the sysroot.
    pub(crate) fn parse(path: &Path, sysroot: &Path, verbose_version: &str) -> Option<Self> {
        let mut lines = verbose_version.lines();
        let version = lines.next()?.to_owned();
        let field = |name| lines.clone().find_map(|line| line.strip_prefix(name));
        Some(Self {
            path: path.to_owned(),
            version,
            host: field("host: ")?.to_owned(),
            llvm_major: field("LLVM version: ")?.split('.').next()?.parse().ok()?,
            sysroot: sysroot.to_owned(),
            core: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERBOSE: &str = "rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)
binary: rustc
host: x86_64-unknown-linux-gnu
release: 1.96.0
LLVM version: 22.1.8";

    fn rustc(path: &str, core: Option<Core>) -> Rustc {
        let rustc = Rustc::parse(Path::new(path), Path::new("/usr"), VERBOSE).unwrap();
        Rustc { core, ..rustc }
    }

    fn seen(compilers: Vec<Rustc>) -> Seen {
        Seen {
            compilers,
            llvm: true,
            may_install: false,
        }
    }

    #[test]
    fn the_compiler_says_what_it_is() {
        let rustc = rustc("/usr/bin/rustc", None);
        assert!(rustc.version.starts_with("rustc 1.96.0 (ac68faa20"));
        assert_eq!(rustc.host, "x86_64-unknown-linux-gnu");
        assert_eq!(rustc.llvm_major, 22);
    }

    #[test]
    fn nonsense_is_no_compiler() {
        assert_eq!(Rustc::parse(Path::new("x"), Path::new("/"), "sh: x"), None);
    }

    #[test]
    fn a_compiled_core_goes_before_one_from_source() {
        let source = rustc("/rustup/rustc", Some(Core::FromSource));
        let prebuilt = rustc("/usr/bin/rustc", Some(Core::Prebuilt));
        let seen = seen(vec![source, prebuilt.clone()]);
        assert_eq!(choose(&seen), Choice::Use(&prebuilt, Core::Prebuilt));
    }

    #[test]
    fn sources_of_core_will_do_and_nothing_is_installed_then() {
        let source = rustc("/rustup/rustc", Some(Core::FromSource));
        let seen = Seen {
            may_install: true,
            ..seen(vec![rustc("/usr/bin/rustc", None), source.clone()])
        };
        assert_eq!(choose(&seen), Choice::Use(&source, Core::FromSource));
    }

    #[test]
    fn a_compiler_newer_than_the_linker_is_no_use() {
        let nightly = Rustc {
            llvm_major: LLVM_MAJOR + 1,
            ..rustc("/rustup/rustc", Some(Core::FromSource))
        };
        assert_eq!(
            choose(&seen(vec![nightly])),
            Choice::Ask(RUSTC_PACKAGES.to_vec())
        );
    }

    #[test]
    fn only_what_is_missing_is_installed() {
        let seen = Seen {
            llvm: false,
            may_install: true,
            ..seen(vec![rustc("/usr/bin/rustc", Some(Core::Prebuilt))])
        };
        assert_eq!(choose(&seen), Choice::Install(LLVM_PACKAGES.to_vec()));
    }

    #[test]
    fn where_nothing_may_be_installed_the_user_is_told_what_to_type() {
        let seen = Seen {
            llvm: false,
            ..seen(Vec::new())
        };
        let packages = [RUSTC_PACKAGES.as_slice(), LLVM_PACKAGES.as_slice()].concat();
        let text = instructions(&packages);
        assert_eq!(choose(&seen), Choice::Ask(packages));
        assert!(text.contains("apt-get install --no-install-recommends rustc-web "));
        assert!(text.contains(" llvm-22-dev "));
    }
}
