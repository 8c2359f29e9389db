//! Kernels in the user's cache: the image and the few modules that a guest can load, some 20 MB each.

use super::debian::Archive;
use super::modules::{self, Tree};
use super::series::Kernel;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// A kernel that can be booted.
pub(crate) struct Files {
    /// As `uname -r` will say.
    pub(crate) release: String,
    /// The image.
    pub(crate) vmlinuz: PathBuf,
    /// The folder of its modules and what `modprobe` reads.
    pub(crate) modules: PathBuf,
    /// Written last, with the names of the modules that were wanted.
    complete: PathBuf,
}

impl Files {
    fn of(release: &str, folder: &Path) -> Self {
        let [vmlinuz, modules, complete] = ["vmlinuz", "modules", "complete"].map(|name| folder.join(name));
        Self { release: release.to_owned(), vmlinuz, modules, complete }
    }

    fn complete(&self) -> bool {
        fs::read_to_string(&self.complete).is_ok_and(|wanted| wanted == wanted_modules())
    }
}

fn wanted_modules() -> String {
    modules::WANTED.join("\n")
}

/// The kernel from the cache, or from the archive into the cache.
pub(crate) fn get(kernel: &Kernel, archive: &Archive, cache: &Path) -> Result<Files> {
    let folder = cache.join(&kernel.release);
    let files = Files::of(&kernel.release, &folder);
    let _alone = archive.alone()?;
    if files.complete() {
        return Ok(files);
    }
    println!("downloading {}", kernel.release);
    let unpacked = tempfile::tempdir_in(cache)?;
    archive.unpack(kernel, unpacked.path())?;
    // Complete or not there at all.
    let chosen = tempfile::tempdir_in(cache)?;
    keep(unpacked.path(), &Files::of(&kernel.release, chosen.path()))?;
    remove_series(cache, &kernel.release)?;
    fs::rename(chosen.keep(), &folder)?;
    Ok(files)
}

/// Copies what we need out of the unpacked packages.
fn keep(unpacked: &Path, to: &Files) -> Result<()> {
    let release = &to.release;
    // The second of each is where they are from 7.2 and 6.12 on.
    let images = [format!("boot/vmlinuz-{release}"), format!("usr/lib/modules/{release}/vmlinuz")];
    let image = images.iter().map(|path| unpacked.join(path)).find(|path| path.is_file());
    fs::copy(image.with_context(|| format!("{release} has no image"))?, &to.vmlinuz)?;
    let folders = [format!("lib/modules/{release}/kernel"), format!("usr/lib/modules/{release}/kernel")];
    let folder = folders.iter().map(|path| unpacked.join(path)).find(|path| path.is_dir());
    Tree::read(&folder.with_context(|| format!("{release} has no modules"))?)?.write_wanted(&to.modules)?;
    Ok(fs::write(&to.complete, wanted_modules())?)
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
        for path in [image.to_owned(), format!("{modules}/kernel/net/vxlan.ko")] {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        folder
    }

    #[test]
    fn old_and_new_packages_are_laid_out_differently() {
        let release = "6.1.0-56-cloud-amd64";
        for (image, modules) in [("boot/vmlinuz-", "lib/modules/"), ("boot/vmlinuz-", "usr/lib/modules/")] {
            let unpacked = unpacked(&format!("{image}{release}"), &format!("{modules}{release}"));
            let cache = tempfile::tempdir().unwrap();
            let files = Files::of(release, cache.path());
            assert!(!files.complete());
            keep(unpacked.path(), &files).unwrap();
            assert!(files.complete() && files.modules.join("vxlan.ko").is_file());
        }
    }

    #[test]
    fn a_cache_of_other_modules_is_made_anew() {
        let cache = tempfile::tempdir().unwrap();
        let files = Files::of("6.1", cache.path());
        fs::write(&files.complete, "vxlan").unwrap();
        assert!(!files.complete());
    }

    #[test]
    fn what_is_missing_is_named() {
        let cache = tempfile::tempdir().unwrap();
        let keep = |unpacked: &tempfile::TempDir| keep(unpacked.path(), &Files::of("6.1", cache.path()));
        let error = keep(&unpacked("boot/vmlinuz-6.1", "elsewhere")).unwrap_err();
        assert_eq!(error.to_string(), "6.1 has no modules");
        let error = keep(&unpacked("elsewhere", "lib/modules/6.1")).unwrap_err();
        assert_eq!(error.to_string(), "6.1 has no image");
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
