//! Network namespaces and cgroups that users name.

use crate::event::NetNs;
use crate::source::SourceError;
use crate::source::linux::kernel::cgroup_root;
use crate::source::linux::kernel::netns::{self, Namespace};
use crate::source::linux::procfs::processes;
use std::path::{Path, PathBuf};

/// The network namespace that we run in.
///
/// # Errors
/// When /proc does not say.
pub fn own_netns() -> Result<NetNs, SourceError> {
    let own = Namespace::open(Path::new(netns::OWN));
    own.map(|namespace| namespace.id).map_err(|error| SourceError {
        what: format!("portleak's own network namespace cannot be read: {error}"),
        remedy: "mount /proc".to_owned(),
    })
}

/// The network namespace with an inode number.
///
/// # Errors
/// When there is none, or none that we may see.
pub fn known_netns(inode: u32) -> Result<NetNs, SourceError> {
    let wanted = NetNs(inode);
    netns::find(wanted, std::iter::empty()).map(|namespace| namespace.id).ok_or_else(|| SourceError {
        what: format!("no visible network namespace has the inode number {inode}"),
        remedy: "look it up as root (lsns -t net, or readlink /proc/PID/ns/net), or use --netns all"
            .to_owned(),
    })
}

/// The path of a cgroup in its hierarchy, from that path or from one below a mount point.
///
/// # Errors
/// When there is no such cgroup.
pub fn known_cgroup(text: &str) -> Result<String, SourceError> {
    let mounts = cgroup_root::all_mount_points();
    let named: Vec<&str> = mounts.iter().filter_map(|mount| mount.to_str()).collect();
    let path = within_hierarchy(text, &named);
    let is_mounted = |mount: &PathBuf| mount.join(path.trim_start_matches('/')).is_dir();
    // In a container the hierarchy may not be mounted, or not all of it.
    let is_inhabited = || {
        let below = format!("{path}/");
        let places = processes::all().into_iter().filter_map(|(_, facts)| facts.cgroup);
        places.map(|cgroup| format!("{cgroup}/")).any(|cgroup| cgroup.starts_with(&below))
    };
    if mounts.iter().any(is_mounted) || is_inhabited() {
        return Ok(path);
    }
    Err(SourceError {
        what: format!("there is no cgroup {text}"),
        remedy: "look it up: systemd-cgls, or cat /proc/PID/cgroup (what follows the second colon)"
            .to_owned(),
    })
}

/// Without the mount point, should it be there; with one slash in front and none behind.
fn within_hierarchy(text: &str, mounts: &[&str]) -> String {
    let below =
        |mount: &&str| text.strip_prefix(mount).filter(|rest| rest.is_empty() || rest.starts_with('/'));
    // Mount points may lie inside one another.
    let path = mounts.iter().filter_map(below).min_by_key(|rest| rest.len()).unwrap_or(text);
    format!("/{}", path.trim_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_in_the_hierarchy_and_in_the_file_system() {
        let mounts = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
        for (text, path) in [
            ("/system.slice/a.service", "/system.slice/a.service"),
            ("system.slice/", "/system.slice"),
            ("/sys/fs/cgroup/system.slice", "/system.slice"),
            ("/sys/fs/cgroup/unified/system.slice/", "/system.slice"),
            ("/sys/fs/cgroup", "/"),
            ("/sys/fs/cgroupx", "/sys/fs/cgroupx"),
            ("/", "/"),
        ] {
            assert_eq!(within_hierarchy(text, &mounts), path, "{text}");
        }
    }

    #[test]
    fn our_own_places_are_known_and_invented_ones_are_not() {
        let own = own_netns().unwrap();
        assert_eq!(known_netns(own.0).unwrap(), own);
        let (_, facts) = processes::facts(std::process::id()).unwrap();
        let cgroup = facts.cgroup.unwrap();
        assert_eq!(known_cgroup(&cgroup).unwrap(), *cgroup);
        let refused = known_netns(1).unwrap_err();
        assert!(refused.what.contains("number 1") && !refused.remedy.is_empty());
        assert!(known_cgroup("/no/such/cgroup").unwrap_err().what.contains("/no/such/cgroup"));
    }
}
