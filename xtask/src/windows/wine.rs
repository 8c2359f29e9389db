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
    /// The one in `folder`, made if it is not there, whole.
    pub(super) fn open(root: &Path, folder: &Path) -> Result<Self> {
        let wine = Self { prefix: folder.join("wine") };
        let whole = wine.prefix.join("whole");
        if !whole.exists() {
            wine.make(root).with_context(|| wine.prefix.display().to_string())?;
            fs::write(whole, "")?;
        }
        Ok(wine)
    }

    fn make(&self, root: &Path) -> Result<()> {
        if self.prefix.exists() {
            fs::remove_dir_all(&self.prefix)?;
        }
        fs::create_dir_all(&self.prefix)?;
        command::run(self.settle(Command::new("wine").args(["wineboot", "--init"])))?;
        command::run(self.settle(Command::new("wineserver").arg("--wait")))?;
        let random = self.prefix.join("drive_c/windows/system32").join(RANDOM);
        if random.exists() {
            return Ok(());
        }
        let mut gcc = Command::new(tools::GCC);
        gcc.args(["-shared", "-O1", "-o"]).arg(random);
        command::run(gcc.arg(root.join("tests/wine/bcryptprimitives.c")).arg("-ladvapi32"))
    }

    /// Gives a command, and all that it starts, this wine.
    pub(super) fn settle<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env("WINEPREFIX", &self.prefix);
        // Of its messages none is ours; no display is there, and no browser or .NET is wanted.
        command.env("WINEDEBUG", "-all").env("WINEDLLOVERRIDES", "mscoree,mshtml=");
        command.env_remove("DISPLAY")
    }
}
