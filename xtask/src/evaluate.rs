//! `cargo xtask evaluate`: how well the detector judges labelled synthetic traffic.

use crate::command;
use anyhow::Result;
use std::path::Path;

/// Plays the traffic in a release build and prints the tables; `arguments` go to it as they are.
pub(crate) fn run(root: &Path, arguments: &[String]) -> Result<()> {
    let mut cargo = command::cargo(root);
    cargo.args(["run", "--release", "--locked", "--package", "portleak-tests", "--bin", "evaluate", "--"]);
    command::run(cargo.args(arguments))
}
