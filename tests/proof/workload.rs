//! The program that does what is traced.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;

/// The workload program, which lies beside this test's executable, in a namespace of its own.
pub(crate) fn workload() -> Command {
    let uid = fs::metadata("/proc/self").expect("/proc").uid();
    assert_eq!(uid, 0, "live tests need root: cargo xtask test");
    let test = std::env::current_exe().expect("the path of this test");
    let profile = test.ancestors().nth(2).expect("target/PROFILE/deps/…");
    let path: PathBuf = profile.join("examples/workload");
    assert!(path.is_file(), "{} is missing: cargo build -p portleak --example workload", path.display());
    let mut command = Command::new(path);
    command.arg("--own-netns");
    command
}
