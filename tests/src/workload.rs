//! The program that does what is traced: `tests/workload`.

use crate::program;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

/// The workload program, in a network namespace of its own.
pub fn workload() -> Command {
    require_root();
    let mut command = Command::new(program::own("workload"));
    command.arg("--own-netns");
    command
}

/// Tests that trace need root, and fail without it rather than pass unseen.
pub fn require_root() {
    let uid = fs::metadata("/proc/self").expect("/proc").uid();
    assert_eq!(uid, 0, "live tests need root: cargo xtask test");
}
