//! Reads a hash map whole, thousands of entries a call (`BPF_MAP_LOOKUP_BATCH`, since 5.6).
//!
//! It goes bucket by bucket, so unlike a walk from key to key it never begins anew when entries
//! come and go, and one that stays is seen exactly once.

use aya::Pod;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// `BPF_MAP_LOOKUP_BATCH`.
const LOOKUP_BATCH: libc::c_long = 24;
/// Entries read in one call; no bucket has as many.
const BATCH: u32 = 4_096;

/// The part of `union bpf_attr` that batch commands use (include/uapi/linux/bpf.h).
#[repr(C)]
#[derive(Default)]
struct Attributes {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// Every entry of a map with keys `K` and values `V`.
pub(super) fn entries<K: Pod + Default, V: Pod + Default>(map: &OwnedFd) -> io::Result<Vec<(K, V)>> {
    let mut keys = vec![K::default(); BATCH as usize];
    let mut values = vec![V::default(); BATCH as usize];
    let mut bucket: Option<u32> = None;
    let mut entries = Vec::new();
    loop {
        let (count, next) = read(map, bucket, &mut keys, &mut values)?;
        entries.extend(keys.iter().copied().zip(values.iter().copied()).take(count));
        if next.is_none() {
            return Ok(entries);
        }
        bucket = next;
    }
}

/// Reads one batch: how many entries, and the bucket to go on from.
fn read<K: Pod, V: Pod>(
    map: &OwnedFd,
    from: Option<u32>,
    keys: &mut [K],
    values: &mut [V],
) -> io::Result<(usize, Option<u32>)> {
    let mut next = 0_u32;
    let mut attributes = Attributes {
        in_batch: from.as_ref().map_or(0, |from| address(from)),
        out_batch: address(&raw mut next),
        keys: address(keys.as_mut_ptr()),
        values: address(values.as_mut_ptr()),
        count: BATCH.min(u32::try_from(keys.len().min(values.len())).unwrap_or(0)),
        map_fd: map.as_raw_fd().cast_unsigned(),
        ..Attributes::default()
    };
    // SAFETY: the attributes point to one bucket number to read, one to write, and to `count` keys
    // and values of the map's own sizes; all of them outlive the call.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, LOOKUP_BATCH, &raw mut attributes, size_of::<Attributes>()) };
    let count = attributes.count as usize;
    if result == 0 {
        return Ok((count, Some(next)));
    }
    let error = io::Error::last_os_error();
    // The last batch ends with this.
    if error.raw_os_error() == Some(libc::ENOENT) { Ok((count, None)) } else { Err(error) }
}

fn address<T>(pointer: *const T) -> u64 {
    pointer.expose_provenance() as u64
}
