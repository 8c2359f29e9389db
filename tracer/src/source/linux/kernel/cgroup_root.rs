//! The root of the cgroup2 hierarchy, where the socket hooks are attached so that they see every
//! process.
//!
//! There is exactly one such hierarchy, mounted or not (`cgrp_dfl_root`, kernel/cgroup/cgroup.c).
//! Where it is not mounted, or a container shows a part only, it is mounted for us alone: without
//! a mount point, gone when the descriptor is closed.

use crate::source::linux::kernel::mounts::{self, Mount};
use crate::source::linux::kernel::namespace::{self, initial};
use crate::source::linux::procfs::processes;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};
use std::fs::{self, File};
use std::io;
use std::iter;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// An open cgroup.
#[derive(Debug)]
pub struct CgroupRoot {
    /// Its directory.
    pub directory: OwnedFd,
    /// Whether it is the root, above every process; otherwise it is the top of what we can see.
    pub is_root: bool,
}

impl CgroupRoot {
    /// Opens a cgroup by its directory, or by another descriptor of it (`/proc/self/fd/N`).
    ///
    /// # Errors
    /// When the directory cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let directory = File::open(path)?;
        // Every cgroup but the root has this file (`CFTYPE_NOT_ON_ROOT`). The root that mountinfo
        // does not say: inside a cgroup namespace it is `/` as well.
        let is_root = !path.join("cgroup.type").exists();
        Ok(Self { directory: directory.into(), is_root })
    }

    /// Opens the root, or the topmost cgroup that can be had.
    ///
    /// # Errors
    /// When cgroup2 is not mounted and cannot be.
    pub fn topmost() -> io::Result<Self> {
        let mounts = mounts::all()?.into_iter().filter(|mount| mount.filesystem == "cgroup2");
        let mounted = mounts.map(|mount| Self::open(&mount.point));
        let candidates = mounted
            .chain(iter::once_with(mount_detached_in_initial_namespace))
            .chain(iter::once_with(mount_detached));
        let mut topmost = Err(io::Error::from(io::ErrorKind::NotFound));
        for cgroup in candidates {
            if cgroup.as_ref().is_ok_and(|cgroup| cgroup.is_root) {
                return cgroup;
            }
            topmost = topmost.or(cgroup);
        }
        topmost
    }
}

/// Mounts the hierarchy without a mount point (Linux 5.2).
fn mount_detached() -> io::Result<CgroupRoot> {
    let context = fsopen("cgroup2", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&context)?;
    let mount = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
    // That is an O_PATH descriptor; opened again, it can be read as well.
    CgroupRoot::open(Path::new(&format!("/proc/self/fd/{}", mount.as_raw_fd())))
}

/// The same as seen by the machine itself; from a container that sees the machine's processes.
fn mount_detached_in_initial_namespace() -> io::Result<CgroupRoot> {
    let outside = processes::pids()
        .into_iter()
        .map(|pid| format!("/proc/{pid}/ns/cgroup"))
        .find(|path| fs::read_link(path).is_ok_and(|link| link.as_os_str() == initial::CGROUP))
        .ok_or(io::ErrorKind::NotFound)?;
    namespace::within(&File::open(outside)?, mount_detached)?
}

/// Where cgroup hierarchies of any kind are mounted from their top.
pub(crate) fn all_mount_points() -> Vec<PathBuf> {
    let is_top =
        |mount: &Mount| mount.filesystem.as_encoded_bytes().starts_with(b"cgroup") && mount.root == "/";
    let mounts = mounts::all().unwrap_or_default().into_iter();
    mounts.filter(is_top).map(|mount| mount.point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[ignore = "needs CAP_SYS_ADMIN"]
    fn without_a_mount_point_it_is_the_same_root() {
        assert!(mount_detached_in_initial_namespace().unwrap().is_root);
        assert!(CgroupRoot::topmost().unwrap().is_root);
    }
}
