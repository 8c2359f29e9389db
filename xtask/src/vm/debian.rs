//! Debian's archive, through an apt of our own: the machine's is asked where the archive lies, and
//! neither used nor changed.

use super::series::Kernel;
use crate::command;
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Suites that carry kernels, and the part of the archive that they are in. What leaves a suite
/// leaves us: its series is then skipped, by name.
const SUITES: [(&str, &str); 5] = [
    ("debian-security", "bullseye-security"),
    ("debian-security", "bookworm-security"),
    ("debian-security", "trixie-security"),
    ("debian", "trixie-backports"),
    ("debian", "sid"),
];

/// Debian's keys; its package is in [`super::tools`].
pub(super) const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The archive as of now.
pub(crate) struct Archive {
    apt: Apt,
    offered: BTreeSet<String>,
}

impl Archive {
    /// Reads what the archive offers.
    ///
    /// # Errors
    /// When it cannot be reached. A suite that is no more is not an error: it offers nothing.
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        let apt = Apt::prepare(folder)?;
        let _alone = apt.alone()?;
        let addresses = addresses();
        let mut sources = Vec::new();
        for (part, suite) in SUITES {
            let source = source(&addresses, part, suite);
            if apt.update(&source).with_context(|| format!("Debian's archive, suite {suite}"))? {
                sources.push(source);
            } else {
                println!("Debian's archive has no suite {suite} any more");
            }
        }
        fs::write(apt.sources(), sources.concat())?;
        let names = command::read(apt.command("apt-cache").args(["pkgnames", "linux-"]))?;
        let offered = names.lines().map(str::to_owned).collect();
        Ok(Self { apt, offered })
    }

    /// The names of its packages.
    pub(crate) fn offered(&self) -> &BTreeSet<String> {
        &self.offered
    }

    /// The cache for this thread of this process alone, until the file is dropped.
    pub(crate) fn alone(&self) -> Result<File> {
        self.apt.alone()
    }

    /// Downloads a kernel's packages and unpacks them into `folder`.
    pub(crate) fn unpack(&self, kernel: &Kernel, folder: &Path) -> Result<()> {
        let packages = tempfile::tempdir_in(folder)?;
        let mut download = self.apt.command("apt-get");
        download.args(["-qq", "download"]).args(&kernel.packages).current_dir(packages.path());
        command::read(&mut download).context("Debian's archive")?;
        for package in fs::read_dir(packages.path())? {
            let mut unpack = Command::new("dpkg-deb");
            unpack.arg("--extract").arg(package?.path()).arg(folder);
            command::read(&mut unpack)?;
        }
        Ok(())
    }
}

/// An apt with a configuration and state of its own.
struct Apt(PathBuf);

impl Apt {
    fn prepare(folder: &Path) -> Result<Self> {
        let folders =
            ["etc/apt.conf.d", "etc/preferences.d", "state/lists/partial", "cache/archives/partial"];
        for name in folders {
            fs::create_dir_all(folder.join(name))?;
        }
        fs::write(folder.join("status"), "")?;
        Ok(Self(folder.to_owned()))
    }

    fn alone(&self) -> Result<File> {
        let file = File::create(self.0.join("lock"))?;
        file.lock()?;
        Ok(file)
    }

    fn sources(&self) -> PathBuf {
        self.0.join("etc/sources.list")
    }

    fn command(&self, program: &str) -> Command {
        let folder = self.0.display();
        let mut command = Command::new(program);
        let options = [
            format!("Dir={folder}"),
            format!("Dir::Etc={folder}/etc"),
            format!("Dir::State={folder}/state"),
            format!("Dir::State::status={folder}/status"),
            format!("Dir::Cache={folder}/cache"),
            "APT::Architecture=amd64".into(),
            "APT::Sandbox::User=".into(),
            "APT::Get::List-Cleanup=false".into(),
            "APT::Update::Error-Mode=any".into(),
            "Acquire::Languages=none".into(),
            "Acquire::Retries=3".into(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".into(),
            // A release that is no longer maintained is not signed anew. We want old kernels.
            "Acquire::Check-Valid-Until=false".into(),
        ];
        for option in options {
            command.arg("-o").arg(option);
        }
        command.env("LC_ALL", "C");
        command
    }

    /// Reads the lists of one suite. False if there is no such suite any more.
    fn update(&self, source: &str) -> Result<bool> {
        fs::write(self.sources(), source)?;
        let output = self.command("apt-get").arg("update").output().context("cannot start apt-get")?;
        if output.status.success() {
            return Ok(true);
        }
        let said = [output.stdout, output.stderr].concat();
        if is_gone(&String::from_utf8_lossy(&said)) {
            return Ok(false);
        }
        bail!("it cannot be read\n{}", String::from_utf8_lossy(&said).trim_end());
    }
}

/// Whether apt was told that there is no such suite, rather than nothing at all.
fn is_gone(said: &str) -> bool {
    said.contains("404 ") && said.contains("does not have a Release file")
}

fn source(addresses: &str, part: &str, suite: &str) -> String {
    format!("deb [signed-by={KEYRING}] {} {suite} main\n", address(addresses, part))
}

/// Where this machine's apt gets its packages from, one address on each line.
fn addresses() -> String {
    let mut apt = Command::new("apt-get");
    apt.args(["indextargets", "--format", "$(REPO_URI)", "Identifier: Packages"]);
    command::read(&mut apt).unwrap_or_default()
}

/// This machine's mirror of that part of Debian's archive, or the archive itself.
fn address(addresses: &str, part: &str) -> String {
    let ending = format!("/{part}");
    let mirror = addresses.lines().find(|address| address.trim_end_matches('/').ends_with(&ending));
    mirror.map_or_else(|| format!("http://deb.debian.org/{part}/"), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_mirror_is_used() {
        let addresses = "http://mirror.example/debian-security/\nhttp://mirror.example/debian/\n";
        assert_eq!(address(addresses, "debian"), "http://mirror.example/debian/");
        assert_eq!(address(addresses, "debian-security"), "http://mirror.example/debian-security/");
        assert_eq!(address("http://x/ubuntu/\n", "debian"), "http://deb.debian.org/debian/");
    }

    #[test]
    fn a_suite_that_is_gone_is_not_an_archive_out_of_reach() {
        let gone = "Err:1 http://x/debian old Release\n  404  Not Found [IP: ::1 80]\n\
                    E: The repository 'http://x/debian old Release' does not have a Release file.\n";
        assert!(is_gone(gone));
        let unreachable = "Err:1 http://x/debian old InRelease\n  Could not resolve 'x'\n\
                           E: Failed to fetch http://x/debian/dists/old/InRelease  Could not resolve 'x'\n";
        assert!(!is_gone(unreachable));
    }
}
