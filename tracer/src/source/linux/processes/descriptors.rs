//! Which process holds which socket, from the links in `/proc/PID/fd`.
//!
//! A busy host has tens of thousands of descriptors, so directories and links are read into
//! buffers that are used again; the kernel's own work is then all that is left.

use super::{id, pids};
use crate::event::ProcessId;
use rustc_hash::FxHashMap;
use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// The offset of the length in `struct linux_dirent64` (include/linux/dirent.h).
const RECORD_BYTES_AT: usize = 16;
/// The offset of the name.
const NAME_AT: usize = 19;
/// Room for some 1,300 entries a call.
const DIRECTORY_BYTES: usize = 32 * 1024;
/// Longer than any `socket:[N]`; links to longer names are cut, which does no harm.
const LINK_BYTES: usize = 64;

/// The process that holds each socket, by the socket's inode number. If several share one, it is
/// the one with the lowest pid: mostly the parent, which made it.
///
/// Processes that end meanwhile or that we may not look into are left out.
#[must_use]
pub fn socket_holders() -> FxHashMap<u32, ProcessId> {
    let mut holders = FxHashMap::default();
    let mut inodes = Vec::new();
    let mut buffer = vec![0; DIRECTORY_BYTES];
    for pid in pids() {
        inodes.clear();
        // Ended, or not ours to see: what was read until then still counts.
        let _ = read_sockets(pid, &mut buffer, &mut inodes);
        if inodes.is_empty() {
            continue;
        }
        if let Some(process) = id(pid) {
            for &inode in &inodes {
                holders.entry(inode).or_insert(process);
            }
        }
    }
    holders
}

/// Appends the inode numbers of a process's sockets to `inodes`.
fn read_sockets(pid: u32, buffer: &mut [u8], inodes: &mut Vec<u32>) -> io::Result<()> {
    let directory = File::open(format!("/proc/{pid}/fd"))?;
    let mut link = [0; LINK_BYTES];
    loop {
        let batch = read_entries(&directory, buffer)?;
        if batch.is_empty() {
            return Ok(());
        }
        inodes.extend(names(batch).filter_map(|name| {
            let target = read_link_at(&directory, name, &mut link).ok()?;
            socket_inode(target)
        }));
    }
}

/// The next records of a directory; empty at its end.
fn read_entries<'a>(directory: &File, buffer: &'a mut [u8]) -> io::Result<&'a [u8]> {
    // SAFETY: pointer and length are those of one writable slice.
    let read = unsafe {
        libc::syscall(
            libc::SYS_getdents64,
            directory.as_raw_fd(),
            buffer.as_mut_ptr(),
            buffer.len(),
        )
    };
    filled(buffer, read.try_into().unwrap_or(-1))
}

/// What the link `name` in `directory` leads to, cut to the buffer's length.
fn read_link_at<'a>(directory: &File, name: &CStr, buffer: &'a mut [u8]) -> io::Result<&'a [u8]> {
    // SAFETY: the name ends with a NUL; pointer and length are those of one writable slice.
    let read = unsafe {
        libc::readlinkat(
            directory.as_raw_fd(),
            name.as_ptr(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
        )
    };
    filled(buffer, read)
}

/// The part of `buffer` that a call filled, or the call's error.
fn filled(buffer: &[u8], length: isize) -> io::Result<&[u8]> {
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    Ok(buffer.get(..length).unwrap_or_default())
}

/// The names in a batch of `struct linux_dirent64`, without `.` and `..`.
fn names(batch: &[u8]) -> impl Iterator<Item = &CStr> {
    let mut rest = batch;
    std::iter::from_fn(move || {
        let length = rest.get(RECORD_BYTES_AT..)?.first_chunk().copied()?;
        let length = usize::from(u16::from_ne_bytes(length));
        let record = rest.get(..length)?;
        rest = rest.get(length..)?;
        CStr::from_bytes_until_nul(record.get(NAME_AT..)?).ok()
    })
    .filter(|name| !name.to_bytes().starts_with(b"."))
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
    use std::os::unix::fs::MetadataExt;

    fn record(name: &str) -> Vec<u8> {
        let length = (NAME_AT + name.len() + 1).next_multiple_of(8);
        let mut record = vec![0; length];
        record[RECORD_BYTES_AT..][..2]
            .copy_from_slice(&u16::try_from(length).unwrap().to_ne_bytes());
        record[NAME_AT..][..name.len()].copy_from_slice(name.as_bytes());
        record
    }

    #[test]
    fn names_of_a_directory() {
        let batch = [".", "..", "0", "17", "1048575"].map(record).concat();
        let found: Vec<_> = names(&batch).map(|name| name.to_str().unwrap()).collect();
        assert_eq!(found, ["0", "17", "1048575"]);
    }

    #[test]
    fn a_batch_cut_short_or_without_length_ends_the_names() {
        let batch = ["0", "17"].map(record).concat();
        for length in 0..batch.len() {
            assert!(names(&batch[..length]).count() < 2, "{length}");
        }
        assert_eq!(names(&[0; 64]).count(), 0);
    }

    #[test]
    fn links_to_sockets() {
        assert_eq!(socket_inode(b"socket:[4711]"), Some(4711));
        for odd in [
            "socket:[",
            "socket:[]",
            "socket:[-1]",
            "pipe:[4711]",
            "/tmp/socket:[1]",
            "",
        ] {
            assert_eq!(socket_inode(odd.as_bytes()), None, "{odd}");
        }
    }

    #[test]
    fn our_own_socket_is_ours() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let pid = std::process::id();
        let path = format!("/proc/{pid}/fd/{}", socket.as_raw_fd());
        let inode = u32::try_from(std::fs::metadata(path).unwrap().ino()).unwrap();
        assert_eq!(socket_holders().get(&inode).copied(), id(pid));
    }
}
