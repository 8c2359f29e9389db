//! Wine: a place of its own under `target/windows`, and programs that run there.

use super::tools;
use crate::command;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A library that Rust's own needs and older wines lack (`tests/wine/bcryptprimitives.c`).
const RANDOM: &str = "bcryptprimitives.dll";

/// A wine that knows nothing of the user's.
#[derive(Debug)]
pub(super) struct Wine {
    prefix: PathBuf,
}

impl Wine {
    /// The one in `folder`, made if it is not there.
    pub(super) fn open(root: &Path, folder: &Path) -> Result<Self> {
        let wine = Self { prefix: folder.join("wine") };
        let system = wine.prefix.join("drive_c/windows/system32");
        if !system.join("kernel32.dll").exists() {
            fs::create_dir_all(&wine.prefix).with_context(|| wine.prefix.display().to_string())?;
            let mut boot = Command::new("wine");
            command::run(wine.settle(boot.args(["wineboot", "--init"])))?;
            command::run(wine.settle(Command::new("wineserver").arg("--wait")))?;
        }
        let random = system.join(RANDOM);
        if !random.exists() {
            let mut gcc = Command::new(tools::GCC);
            gcc.args(["-shared", "-O1", "-o"]).arg(random);
            command::run(gcc.arg(root.join("tests/wine/bcryptprimitives.c")).arg("-ladvapi32"))?;
        }
        Ok(wine)
    }

    /// Gives a command, and all that it starts, this wine.
    pub(super) fn settle<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env("WINEPREFIX", &self.prefix);
        // Of its messages none is ours; no display is there, and no browser or .NET is wanted.
        command.env("WINEDEBUG", "-all").env("WINEDLLOVERRIDES", "mscoree,mshtml=");
        command.env_remove("DISPLAY")
    }
}
