//! Every open socket of every process, as a BPF iterator over `task_file` lists them.

use portleak_ebpf::SocketFile;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;

// include/uapi/linux/bpf.h
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_ITER_CREATE: libc::c_long = 33;
const BPF_TRACE_ITER: u32 = 28;

/// What the kernel hands out at once.
const READ_BYTES: usize = 64 * 1024;
const LINE_BYTES: usize = size_of::<SocketFile>();

/// The iterator's program. It outlives the probes: a last look comes after they are detached.
#[derive(Clone, Debug)]
pub struct SocketFiles {
    program: Arc<OwnedFd>,
}

impl SocketFiles {
    /// Of a loaded program.
    ///
    /// # Errors
    /// When there is no descriptor left for it.
    pub fn of(program: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(Self { program: Arc::new(program.try_clone_to_owned()?) })
    }

    /// Reads it once, from its begin.
    ///
    /// # Errors
    /// The kernel's.
    pub fn read(&self) -> io::Result<Vec<SocketFile>> {
        let link = bpf(BPF_LINK_CREATE, [number(&*self.program), 0, BPF_TRACE_ITER, 0])?;
        let mut file = File::from(bpf(BPF_ITER_CREATE, [number(&link), 0, 0, 0])?);
        let mut files = Vec::new();
        let mut buffer = vec![0; READ_BYTES];
        let mut filled = 0;
        loop {
            let read = match file.read(&mut buffer[filled..]) {
                Ok(0) => return Ok(files),
                Ok(read) => read,
                // A million files without a socket among them: the kernel pauses, we go on.
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                    continue;
                }
                Err(error) => return Err(error),
            };
            filled += read;
            files.extend(lines(&buffer[..filled]));
            let whole = filled - filled % LINE_BYTES;
            buffer.copy_within(whole..filled, 0);
            filled -= whole;
        }
    }
}

/// The whole lines in `bytes`.
fn lines(bytes: &[u8]) -> impl Iterator<Item = SocketFile> {
    bytes.chunks_exact(LINE_BYTES).filter_map(|line| {
        let (started_ticks, rest) = line.split_first_chunk()?;
        let (pid, rest) = rest.split_first_chunk()?;
        Some(SocketFile {
            started_ticks: u64::from_ne_bytes(*started_ticks),
            pid: u32::from_ne_bytes(*pid),
            inode: u32::from_ne_bytes(*rest.first_chunk()?),
        })
    })
}

fn number(fd: &impl AsRawFd) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

/// A command whose attributes are four numbers, and that returns a descriptor.
fn bpf(command: libc::c_long, attributes: [u32; 4]) -> io::Result<OwnedFd> {
    // SAFETY: the attributes hold numbers alone, and are as long as is said.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_ptr(), size_of_val(&attributes)) };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the kernel has just opened it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_whole() {
        let mut bytes =
            [7_u64.to_ne_bytes().as_slice(), &42_u32.to_ne_bytes(), &4711_u32.to_ne_bytes()].concat();
        bytes.extend([0; LINE_BYTES - 1]);
        let expected = SocketFile { started_ticks: 7, pid: 42, inode: 4711 };
        assert_eq!(lines(&bytes).collect::<Vec<_>>(), [expected]);
    }
}
