//! The root of the cgroup2 hierarchy, where the socket hooks are attached so that they see every
//! process.
//!
//! There is exactly one such hierarchy, mounted or not (`cgrp_dfl_root`, kernel/cgroup/cgroup.c).
//! Where it is not mounted, or a container shows a part only, it is mounted for us alone: without
//! a mount point, gone when the descriptor is closed.

use crate::source::linux::kernel::namespace::{self, initial};
use crate::source::linux::procfs::processes;
use std::ffi::CStr;
use std::fs::{self, File};
use std::io;
use std::iter;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

/// `FSOPEN_CLOEXEC` and `FSMOUNT_CLOEXEC` (include/uapi/linux/mount.h).
const CLOEXEC: libc::c_uint = 1;
/// `FSCONFIG_CMD_CREATE`.
const CREATE: libc::c_uint = 6;

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
        // shows does not tell: inside a cgroup namespace it is `/` as well.
        let is_root = !path.join("cgroup.type").exists();
        Ok(Self { directory: directory.into(), is_root })
    }

    /// Opens the root, or the topmost cgroup that can be had.
    ///
    /// # Errors
    /// When cgroup2 is not mounted and cannot be.
    pub fn topmost() -> io::Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let mounted = mount_points(&mounts).map(|path| Self::open(Path::new(path)));
        let ways = mounted
            .chain(iter::once_with(mount_detached_in_initial_namespace))
            .chain(iter::once_with(mount_detached));
        let mut topmost = Err(io::Error::from(io::ErrorKind::NotFound));
        for cgroup in ways {
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
    let context = fsopen(c"cgroup2")?;
    fsconfig_create(&context)?;
    let mount = fsmount(&context)?;
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

fn fsopen(filesystem: &CStr) -> io::Result<OwnedFd> {
    // SAFETY: the name ends with a NUL.
    owned(unsafe { libc::syscall(libc::SYS_fsopen, filesystem.as_ptr(), CLOEXEC) })
}

fn fsconfig_create(context: &OwnedFd) -> io::Result<()> {
    let nothing = std::ptr::null::<libc::c_char>();
    // SAFETY: the descriptor is open; this command takes neither key nor value.
    let result =
        unsafe { libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), CREATE, nothing, nothing, 0) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn fsmount(context: &OwnedFd) -> io::Result<OwnedFd> {
    // SAFETY: no pointers; the descriptor is open.
    owned(unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), CLOEXEC, 0) })
}

/// The descriptor that a system call has just made, or its error.
fn owned(result: libc::c_long) -> io::Result<OwnedFd> {
    match libc::c_int::try_from(result) {
        // SAFETY: a fresh descriptor that nothing else owns.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Where cgroup2 is mounted, by a mountinfo file.
fn mount_points(mountinfo: &str) -> impl Iterator<Item = &str> {
    mountinfo.lines().filter_map(|line| {
        // Optional columns end with a lone hyphen; the filesystem's type comes next.
        let (mount, filesystem) = line.split_once(" - ")?;
        filesystem.starts_with("cgroup2 ").then(|| mount.split(' ').nth(4))?
    })
}

/// Where cgroup hierarchies of any kind are mounted from their top, by a mountinfo file.
pub(crate) fn all_mount_points(mountinfo: &str) -> impl Iterator<Item = &str> {
    mountinfo.lines().filter_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut columns = mount.split(' ').skip(3);
        let (root, mount_point) = (columns.next()?, columns.next()?);
        (filesystem.starts_with("cgroup") && root == "/").then_some(mount_point)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroup2_is_found_among_cgroups_of_old() {
        let text = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
37 31 0:34 / /sys/fs/cgroup/cpu rw shared:9 - cgroup cgroup rw,cpu
38 31 0:35 / /sys/fs/cgroup/unified rw shared:10 master:1 - cgroup2 cgroup2 rw
39 31 0:35 /a /mnt/a rw - cgroup2 none rw
40 31 0:36 / /mnt/cgroup2 rw - ext4 cgroup2 rw
cut - cgroup2 short
";
        assert_eq!(mount_points(text).collect::<Vec<_>>(), ["/sys/fs/cgroup/unified", "/mnt/a"]);
        let all = ["/sys/fs/cgroup/cpu", "/sys/fs/cgroup/unified"];
        assert_eq!(all_mount_points(text).collect::<Vec<_>>(), all);
        assert_eq!(mount_points("").count(), 0);
    }

    #[test]
    #[ignore = "needs CAP_SYS_ADMIN"]
    fn without_a_mount_point_it_is_the_same_root() {
        assert!(mount_detached_in_initial_namespace().unwrap().is_root);
        assert!(CgroupRoot::topmost().unwrap().is_root);
    }
}
