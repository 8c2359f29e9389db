//! Kernels in the user's cache: the image and the few modules that the guest needs, some 15 MB each.

use super::debian::Archive;
use super::series::Kernel;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Modules by their path below `kernel/`, in the order of loading. portleak asks `sock_diag` for the
/// sockets that are there when it starts; a distribution would load these at that moment.
const MODULES: [&str; 3] = ["net/ipv4/inet_diag", "net/ipv4/tcp_diag", "net/ipv4/udp_diag"];

/// A kernel that can be booted.
pub(crate) struct Files {
    /// The image.
    pub(crate) vmlinuz: PathBuf,
    /// The modules, in the order of loading.
    pub(crate) modules: Vec<PathBuf>,
}

impl Files {
    fn of(folder: &Path) -> Self {
        let modules = MODULES.iter().filter_map(|module| Path::new(module).file_name());
        let modules = modules.map(|name| folder.join(name).with_extension("ko")).collect();
        Self { vmlinuz: folder.join("vmlinuz"), modules }
    }

    fn complete(&self) -> bool {
        self.vmlinuz.is_file() && self.modules.iter().all(|module| module.is_file())
    }
}

/// The kernel from the cache, or from the archive into the cache.
pub(crate) fn get(kernel: &Kernel, archive: &Archive, cache: &Path) -> Result<Files> {
    let folder = cache.join(&kernel.release);
    let files = Files::of(&folder);
    let _alone = archive.alone()?;
    if files.complete() {
        return Ok(files);
    }
    println!("downloading {}", kernel.release);
    let unpacked = tempfile::tempdir_in(cache)?;
    archive.unpack(kernel, unpacked.path())?;
    // Complete or not there at all.
    let chosen = tempfile::tempdir_in(cache)?;
    keep(unpacked.path(), &kernel.release, &Files::of(chosen.path()))?;
    remove_series(cache, &kernel.release)?;
    fs::rename(chosen.keep(), &folder)?;
    Ok(files)
}

/// Copies what we need out of the unpacked packages.
fn keep(unpacked: &Path, release: &str, to: &Files) -> Result<()> {
    // The second of each is where they are from 7.2 and 6.12 on.
    let images = [format!("boot/vmlinuz-{release}"), format!("usr/lib/modules/{release}/vmlinuz")];
    let image = images.iter().map(|path| unpacked.join(path)).find(|path| path.is_file());
    fs::copy(image.with_context(|| format!("{release} has no image"))?, &to.vmlinuz)?;
    let folders = [format!("lib/modules/{release}/kernel"), format!("usr/lib/modules/{release}/kernel")];
    for (module, to) in MODULES.iter().zip(&to.modules) {
        let found = folders.iter().find_map(|folder| read_module(&unpacked.join(folder).join(module)));
        let found = found.with_context(|| format!("{release} has no module {module}"))?;
        fs::write(to, found?)?;
    }
    Ok(())
}

/// A module, however it is packed; `None` if it is not there.
fn read_module(path: &Path) -> Option<Result<Vec<u8>>> {
    let plain = path.with_extension("ko");
    if plain.is_file() {
        return Some(fs::read(plain).map_err(Into::into));
    }
    let packed = path.with_extension("ko.xz");
    packed.is_file().then(|| unpack(&packed))
}

fn unpack(path: &Path) -> Result<Vec<u8>> {
    let output = Command::new("xz").args(["--decompress", "--stdout"]).arg(path).output();
    let output = output.context("cannot start xz")?;
    if !output.status.success() {
        bail!("{} cannot be unpacked", path.display());
    }
    Ok(output.stdout)
}

/// Removes what an earlier release of the same series left.
fn remove_series(cache: &Path, release: &str) -> Result<()> {
    for entry in fs::read_dir(cache)? {
        let entry = entry?;
        if series(&entry.file_name().to_string_lossy()) == series(release) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

fn series(release: &str) -> Option<(&str, &str)> {
    let mut numbers = release.split('.');
    Some((numbers.next()?, numbers.next()?)).filter(|(major, _)| major.parse::<u32>().is_ok())
}

/// Prepares the cache's folder for kernels.
pub(crate) fn folder(cache: &Path) -> Result<PathBuf> {
    let folder = cache.join("kernels");
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unpacked(image: &str, modules: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let file = |path: String| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        };
        file(image.to_owned());
        MODULES.iter().for_each(|module| file(format!("{modules}/kernel/{module}.ko")));
        folder
    }

    #[test]
    fn old_and_new_packages_are_laid_out_differently() {
        let release = "6.1.0-56-cloud-amd64";
        for (image, modules) in [("boot/vmlinuz-", "lib/modules/"), ("boot/vmlinuz-", "usr/lib/modules/")] {
            let unpacked = unpacked(&format!("{image}{release}"), &format!("{modules}{release}"));
            let cache = tempfile::tempdir().unwrap();
            let files = Files::of(cache.path());
            assert!(!files.complete());
            keep(unpacked.path(), release, &files).unwrap();
            assert!(files.complete());
        }
    }

    #[test]
    fn a_missing_module_is_named() {
        let unpacked = unpacked("boot/vmlinuz-6.1", "elsewhere");
        let cache = tempfile::tempdir().unwrap();
        let error = keep(unpacked.path(), "6.1", &Files::of(cache.path())).unwrap_err();
        assert_eq!(error.to_string(), "6.1 has no module net/ipv4/inet_diag");
    }

    #[test]
    fn an_earlier_release_goes_and_other_series_stay() {
        let cache = tempfile::tempdir().unwrap();
        for name in ["6.1.0-9-cloud-amd64", "6.12.1-cloud-amd64", ".tmpabc"] {
            fs::create_dir(cache.path().join(name)).unwrap();
        }
        remove_series(cache.path(), "6.1.0-56-cloud-amd64").unwrap();
        let mut left: Vec<_> = fs::read_dir(cache.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, [".tmpabc", "6.12.1-cloud-amd64"]);
    }
}
