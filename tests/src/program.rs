//! Where the programs are that the tests run: in the folder that this test was built into.
//!
//! Cargo builds the programs of this package before its tests, but not portleak, which is another
//! package. So the first test of a process that wants it has cargo build it, with the profile of the
//! test itself: no test ever runs an old one.

use std::env::consts::EXE_SUFFIX;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// portleak, built from the sources that are there now. Where cargo did not start the test, as in a
/// guest of `cargo xtask test-vm`, it must lie there already.
pub fn portleak() -> PathBuf {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(build);
    existing("portleak", "cargo build -p portleak --bin portleak")
}

/// The example of portleak that leaks.
pub fn leak() -> PathBuf {
    portleak();
    existing("examples/leak", "cargo build -p portleak --example leak")
}

/// A program of this package.
pub fn own(name: &str) -> PathBuf {
    existing(name, &format!("cargo build -p portleak-tests --bin {name}"))
}

/// The folder of a profile, such as `target/debug`.
pub fn profile_folder() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    let folder = test.ancestors().nth(2).expect("target/PROFILE/deps/TEST");
    folder.to_owned()
}

fn existing(name: &str, remedy: &str) -> PathBuf {
    let path = profile_folder().join(format!("{name}{EXE_SUFFIX}"));
    assert!(path.is_file(), "{} is missing\n  remedy: {remedy}", path.display());
    path
}

fn build() {
    let Some(cargo) = std::env::var_os("CARGO") else {
        return;
    };
    let output = Command::new(cargo).args(arguments(&profile_folder())).output().expect("cargo starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "portleak does not build:\n{errors}");
}

/// What cargo must be told to build into `folder`: `TARGET_DIR/PROFILE`, or `TARGET_DIR/TRIPLE/PROFILE`
/// when the tests were built for a target by name.
fn arguments(folder: &Path) -> Vec<OsString> {
    let name = |path: &Path| path.file_name().expect("a folder with a name").to_owned();
    let mut arguments: Vec<OsString> = [
        "build",
        "--quiet",
        "--locked",
        "--package=portleak",
        "--bin=portleak",
        "--example=leak",
        "--profile",
    ]
    .map(OsString::from)
    .into();
    let profile = name(folder);
    // The one profile whose folder has another name.
    arguments.push(if profile == "debug" { "dev".into() } else { profile });
    let mut target_dir = folder.parent().expect("target");
    // Cargo marks its target directory with this file.
    if !target_dir.join("CACHEDIR.TAG").exists() {
        arguments.extend(["--target".into(), name(target_dir)]);
        target_dir = target_dir.parent().expect("target");
    }
    arguments.extend(["--target-dir".into(), target_dir.into()]);
    arguments
}
