//! Network namespaces: which there are, how to look from inside one, and which ports it hands out.

use crate::event::{NetNs, PortRange};
use crate::source::SourceError;
use crate::source::linux::kernel::mounts::{self, Mount};
use crate::source::linux::procfs::processes;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::ops::RangeInclusive;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const PORT_RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";
/// The calling thread's namespace.
pub(crate) const OWN: &str = "/proc/thread-self/ns/net";
const RESERVED_PORTS: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";

/// An open network namespace. It cannot die while this exists, nor can its TIME_WAITs be
/// cleared away with it: drop it soon.
#[derive(Debug)]
pub struct Namespace {
    /// Its inode number.
    pub id: NetNs,
    handle: File,
}

impl Namespace {
    /// Opens the namespace behind a path such as `/proc/PID/ns/net` or `/run/netns/NAME`.
    ///
    /// # Errors
    /// When the path is gone or we may not look.
    pub fn open(path: &Path) -> io::Result<Self> {
        let handle = File::open(path)?;
        let inode = handle.metadata()?.ino();
        let id = NetNs(u32::try_from(inode).map_err(io::Error::other)?);
        Ok(Self { id, handle })
    }
}

/// Every network namespace that a process runs in or that is mounted somewhere, by inode number.
///
/// Not found: one that only sockets keep alive.
#[must_use]
pub fn all() -> Vec<Namespace> {
    let mut found = BTreeMap::new();
    for path in paths() {
        // Ended in the meantime, or not ours to see: both are normal.
        if let Ok(namespace) = Namespace::open(&path) {
            found.entry(namespace.id).or_insert(namespace);
        }
    }
    found.into_values().collect()
}

/// A path to every namespace that [`all`] finds. Opens none.
#[must_use]
pub fn paths_by_id() -> BTreeMap<NetNs, PathBuf> {
    let mut by_id = BTreeMap::new();
    for path in paths() {
        let inode = fs::metadata(&path).ok().and_then(|link| u32::try_from(link.ino()).ok());
        if let Some(inode) = inode {
            by_id.entry(NetNs(inode)).or_insert(path);
        }
    }
    by_id
}

fn paths() -> impl Iterator<Item = PathBuf> {
    let mounted = mounts::all().unwrap_or_default().into_iter().filter(is_namespace);
    processes::pids().into_iter().map(of_process).chain(mounted.map(|mount| mount.point))
}

/// The path to the namespace that a process runs in.
pub(crate) fn of_process(pid: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/ns/net"))
}

/// One namespace: through a process that may be inside, or any.
#[must_use]
pub fn find(id: NetNs, pids: impl Iterator<Item = u32>) -> Option<Namespace> {
    let open = |pid| Namespace::open(&of_process(pid)).ok();
    let near = pids.filter_map(open).find(|namespace| namespace.id == id);
    near.or_else(|| all().into_iter().find(|namespace| namespace.id == id))
}

/// Runs `work` inside `namespace`, on a thread of its own if that is not ours, and returns what it
/// returns.
///
/// # Errors
/// When no thread can be started, or the kernel does not let it in (needs `CAP_SYS_ADMIN`).
pub fn within<T: Send>(namespace: &Namespace, work: impl FnOnce() -> T + Send) -> Result<T, SourceError> {
    let own = Namespace::open(Path::new(OWN)).is_ok_and(|own| own.id == namespace.id);
    if own {
        return Ok(work()); // Needs no privilege.
    }
    super::namespace::within(&namespace.handle, work).map_err(|error| SourceError {
        what: format!("network namespace {} cannot be entered: {error}", namespace.id.0),
        remedy: "run as root with CAP_SYS_ADMIN".to_owned(),
    })
}

/// The ports that the calling thread's namespace hands out.
///
/// Files below /proc/sys/net show the namespace of the task that opens them
/// (`net_ctl_header_lookup`, net/sysctl_net.c).
///
/// # Errors
/// When the settings cannot be read or are not understood.
pub fn port_range() -> Result<PortRange, SourceError> {
    let range = setting(PORT_RANGE, parse_port_range)?;
    let reserved = reserved_ports()?;
    Ok(PortRange { low: *range.start(), high: *range.end(), reserved: count_within(&range, &reserved) })
}

/// The ports that the calling thread's namespace never hands out, inside its range or outside.
///
/// # Errors
/// When the setting cannot be read or is not understood.
pub fn reserved_ports() -> Result<Vec<RangeInclusive<u16>>, SourceError> {
    setting(RESERVED_PORTS, parse_reserved_ports)
}

fn setting<T>(path: &str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, SourceError> {
    let failed = |why: String| SourceError {
        what: format!("{path} cannot be read: {why}"),
        remedy: "mount /proc, readable, in this mount namespace".to_owned(),
    };
    let text = fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    parse(&text).ok_or_else(|| failed(format!("{text:?} is not understood")))
}

/// Parses `ip_local_port_range`: two numbers, both included.
fn parse_port_range(text: &str) -> Option<RangeInclusive<u16>> {
    let mut words = text.split_ascii_whitespace();
    let (low, high) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    (low <= high && words.next().is_none()).then_some(low..=high)
}

/// Parses `ip_local_reserved_ports`, such as `3000-3010,40000`; empty if there are none.
fn parse_reserved_ports(text: &str) -> Option<Vec<RangeInclusive<u16>>> {
    let parts = text.trim().split(',').filter(|part| !part.is_empty());
    let range = |part: &str| {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        Some(low.parse().ok()?..=high.parse().ok()?)
    };
    parts.map(range).collect()
}

/// How many ports of `range` are in `reserved`.
fn count_within(range: &RangeInclusive<u16>, reserved: &[RangeInclusive<u16>]) -> u32 {
    let is_reserved = |port: &u16| reserved.iter().any(|part| part.contains(port));
    range.clone().filter(is_reserved).map(|_| 1).sum()
}

/// Whether a mount is that of a network namespace, as `ip netns add` makes it.
fn is_namespace(mount: &Mount) -> bool {
    mount.root.as_encoded_bytes().starts_with(b"net:[")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_ranges() {
        assert_eq!(parse_port_range("32768\t60999\n"), Some(32_768..=60_999));
        for odd in ["", "1", "1 2 3", "2 1", "1 65536", "a b"] {
            assert_eq!(parse_port_range(odd), None, "{odd}");
        }
    }

    #[test]
    fn reserved() {
        assert_eq!(parse_reserved_ports("\n"), Some(vec![]));
        assert_eq!(parse_reserved_ports("3000-3010,40000\n"), Some(vec![3000..=3010, 40000..=40000]));
        for odd in ["a", "1-", "-1", "1-2-3", "65536"] {
            assert_eq!(parse_reserved_ports(odd), None, "{odd}");
        }
    }

    #[test]
    fn only_what_is_reserved_within_the_range_counts_and_only_once() {
        assert_eq!(count_within(&(10..=20), &[5..=11, 20..=30, 21..=40, 10..=10]), 3);
        assert_eq!(count_within(&(10..=20), &[]), 0);
        assert_eq!(count_within(&(0..=u16::MAX), &[0..=u16::MAX]), 65_536);
    }

    #[test]
    fn our_own_namespace_is_found_once() {
        let own = Namespace::open(Path::new("/proc/thread-self/ns/net")).unwrap().id;
        assert_eq!(all().iter().filter(|namespace| namespace.id == own).count(), 1);
    }

    #[test]
    fn our_own_range_can_be_read() {
        let range = port_range().unwrap();
        assert!(range.low < range.high && range.usable() > 0);
    }

    #[test]
    #[ignore = "needs CAP_SYS_ADMIN"]
    fn within_another_namespace_its_own_range_is_seen() {
        let here = port_range().unwrap();
        let other = std::thread::spawn(|| {
            // SAFETY: of a thread, the descriptors stay shared.
            unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }.unwrap();
            fs::write(PORT_RANGE, "40000 40007").unwrap();
            fs::write(RESERVED_PORTS, "40001-40002,50000").unwrap();
            Namespace::open(Path::new("/proc/thread-self/ns/net")).unwrap()
        });
        let other = other.join().unwrap();
        let there = within(&other, || port_range().unwrap()).unwrap();
        assert_eq!(there, PortRange { low: 40_000, high: 40_007, reserved: 2 });
        assert_eq!(there.usable(), 6);
        assert_eq!(port_range().unwrap(), here);
    }
}
