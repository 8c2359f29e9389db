//! `cargo xtask deny`: are the licences of all dependencies among those of deny.toml?

use crate::command;
use anyhow::{Result, bail};
use std::path::Path;

/// Checks with cargo-deny.
pub(crate) fn check(root: &Path) -> Result<()> {
    if command::read(command::cargo(root).args(["deny", "--version"])).is_err() {
        bail!("cargo-deny is missing; type `cargo install cargo-deny --locked`");
    }
    let mut cargo = command::cargo(root);
    command::run(cargo.args(["deny", "--locked", "check", "licenses"]))
}
