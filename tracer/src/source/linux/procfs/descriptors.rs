//! Which process holds which socket: from the kernel's own list, or from the links in `/proc/PID/fd`.
//!
//! A busy host has tens of thousands of descriptors, so directories and links are read into
//! buffers that are used again; the kernel's own work is then all that is left.

use super::io_uring;
use super::processes::{id, pids};
use crate::event::ProcessId;
use crate::source::linux::bpf::socket_files::SocketFiles;
use rustc_hash::FxHashMap;
use rustix::fs::{RawDir, readlinkat_raw};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::mem::MaybeUninit;

/// Room for some 1,300 entries a call.
const DIRECTORY_BYTES: usize = 32 * 1024;
/// Longer than any `socket:[N]`; links to longer names are cut, which does no harm.
const LINK_BYTES: usize = 64;

/// How to learn which process holds which socket.
#[derive(Clone, Debug)]
pub enum Descriptors {
    /// The kernel lists them: needs a probe.
    Listed(SocketFiles),
    /// From /proc, as far as we may look.
    Proc,
}

impl Descriptors {
    /// All that hold each socket: of all processes, or of some where asking all is costly.
    ///
    /// Processes that end meanwhile or that we may not look into are left out.
    #[must_use]
    pub fn holders(&self, among: Option<&BTreeSet<u32>>) -> Holders {
        if let Self::Listed(listing) = self
            && let Ok(holders) = listed(listing)
        {
            return holders;
        }
        match among {
            Some(pids) => read_processes(pids.iter().copied()),
            None => read_processes(pids()),
        }
    }

    /// Whether asking some processes alone saves anything.
    #[must_use]
    pub fn are_costly(&self) -> bool {
        matches!(self, Self::Proc)
    }
}

fn listed(listing: &SocketFiles) -> io::Result<Holders> {
    let mut files = listing.read()?;
    // The lowest pid first.
    files.sort_unstable_by_key(|file| file.pid);
    let mut holders = Holders::default();
    for file in files {
        holders.add(file.inode, ProcessId { pid: file.pid, started_ticks: file.started_ticks });
    }
    Ok(holders)
}

/// Which processes hold each socket, by the socket's inode number.
#[derive(Debug, Default)]
pub struct Holders {
    lowest: FxHashMap<u32, ProcessId>,
    /// All but the lowest, where several hold one.
    others: FxHashMap<u32, Vec<ProcessId>>,
}

impl Holders {
    /// The holder with the lowest pid: mostly the parent, which made it.
    #[must_use]
    pub fn first(&self, inode: u32) -> Option<ProcessId> {
        self.lowest.get(&inode).copied()
    }

    /// Whether a process holds a socket.
    #[must_use]
    pub fn has(&self, process: ProcessId, inode: u32) -> bool {
        let others = self.others.get(&inode);
        self.first(inode) == Some(process) || others.is_some_and(|others| others.contains(&process))
    }

    /// The first holders.
    #[must_use]
    pub fn all_first(&self) -> &FxHashMap<u32, ProcessId> {
        &self.lowest
    }

    /// Adds what some processes keep in io_uring's tables.
    pub fn add_rings(&mut self, pids: &BTreeSet<u32>) {
        for (process, pid) in pids.iter().filter_map(|pid| Some((id(*pid)?, *pid))) {
            io_uring::sockets(pid).into_iter().for_each(|inode| self.add(inode, process));
        }
    }

    /// A process holds a socket; ascending pids make the first the lowest.
    pub(crate) fn add(&mut self, inode: u32, process: ProcessId) {
        let first = *self.lowest.entry(inode).or_insert(process);
        if first != process {
            let others = self.others.entry(inode).or_default();
            if others.last() != Some(&process) {
                others.push(process);
            }
        }
    }
}

/// From /proc; ascending pids make the first the lowest.
fn read_processes(pids: impl IntoIterator<Item = u32>) -> Holders {
    let mut holders = Holders::default();
    let mut inodes = Vec::new();
    let mut buffer = vec![MaybeUninit::uninit(); DIRECTORY_BYTES];
    for pid in pids {
        inodes.clear();
        read_process(pid, &mut buffer, &mut inodes);
        if inodes.is_empty() {
            continue;
        }
        if let Some(process) = id(pid) {
            inodes.iter().for_each(|&inode| holders.add(inode, process));
        }
    }
    holders
}

/// Appends the inode numbers of a process's sockets to `inodes`, as far as they can be read.
fn read_process(pid: u32, buffer: &mut [MaybeUninit<u8>], inodes: &mut Vec<u32>) {
    // Ended, or not ours to see: what was read until then still counts.
    let read = read_sockets(&format!("/proc/{pid}/fd"), buffer, inodes);
    if read.is_ok_and(|entries| entries > 0) {
        return;
    }
    // Its first thread may have ended before the others, and shows nothing any more.
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return;
    };
    for thread in threads.flatten().filter(|thread| thread.file_name() != pid.to_string().as_str()) {
        let path = format!("{}/fd", thread.path().display());
        if read_sockets(&path, buffer, inodes).is_ok_and(|entries| entries > 0) {
            return; // Threads share their descriptors.
        }
    }
}

/// Appends the inode numbers of the sockets in a directory of descriptors to `inodes`; says how
/// many descriptors there are.
fn read_sockets(directory: &str, buffer: &mut [MaybeUninit<u8>], inodes: &mut Vec<u32>) -> io::Result<usize> {
    let directory = File::open(directory)?;
    let mut link = [MaybeUninit::uninit(); LINK_BYTES];
    let mut entries = 0;
    let mut names = RawDir::new(&directory, buffer);
    while let Some(entry) = names.next() {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_bytes().starts_with(b".") {
            continue; // The directory itself and the one above.
        }
        entries += 1;
        if let Ok((target, _)) = readlinkat_raw(&directory, name, &mut link) {
            inodes.extend(socket_inode(target));
        }
    }
    Ok(entries)
}

/// The inode number in `socket:[N]`.
fn socket_inode(link: &[u8]) -> Option<u32> {
    let number = link.strip_prefix(b"socket:[")?.strip_suffix(b"]")?;
    str::from_utf8(number).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn links_to_sockets() {
        assert_eq!(socket_inode(b"socket:[4711]"), Some(4711));
        for odd in ["socket:[", "socket:[]", "socket:[-1]", "pipe:[4711]", "/tmp/socket:[1]", ""] {
            assert_eq!(socket_inode(odd.as_bytes()), None, "{odd}");
        }
    }

    #[test]
    fn our_own_socket_is_ours() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let pid = std::process::id();
        let path = format!("/proc/{pid}/fd/{}", socket.as_raw_fd());
        let inode = u32::try_from(fs::metadata(path).unwrap().ino()).unwrap();
        assert_eq!(Descriptors::Proc.holders(None).first(inode), id(pid));
    }

    #[test]
    fn of_several_holders_the_first_is_told_and_all_are_known() {
        let process = |pid| ProcessId { pid, started_ticks: 1 };
        let mut holders = Holders::default();
        for (inode, pid) in [(5, 1), (5, 1), (5, 2), (6, 2)] {
            holders.add(inode, process(pid));
        }
        assert_eq!((holders.first(5), holders.first(6)), (Some(process(1)), Some(process(2))));
        assert!(holders.has(process(1), 5) && holders.has(process(2), 5));
        assert!(!holders.has(process(1), 6) && !holders.has(process(3), 5));
    }
}
