//! Sockets in io_uring's own tables, where no descriptor refers to them: the kernel lists them with
//! the ring's descriptor (`io_uring_show_fdinfo`, io_uring/fdinfo.c).

use std::fs;

/// The inode numbers of those that a process keeps; none where the kernel does not name them.
pub(crate) fn sockets(pid: u32) -> Vec<u32> {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return Vec::new();
    };
    let rings = descriptors.flatten().filter(|descriptor| {
        fs::read_link(descriptor.path()).is_ok_and(|link| link.as_os_str() == "anon_inode:[io_uring]")
    });
    let info = |ring: fs::DirEntry| {
        let number = ring.file_name();
        fs::read_to_string(format!("/proc/{pid}/fdinfo/{}", number.display())).unwrap_or_default()
    };
    rings.map(info).flat_map(|info| parse(&info)).collect()
}

/// Lines such as `    0: socket:[47461947]`.
fn parse(info: &str) -> Vec<u32> {
    let socket = |line: &str| {
        let (slot, file) = line.split_once(": ")?;
        slot.trim_start().parse::<u32>().ok()?;
        file.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    };
    info.lines().filter_map(socket).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_a_ring_that_are_sockets() {
        let info = "pos:\t0\nino:\t47461946\nUserFiles:\t4\n    0: socket:[47461947]\n    1: /etc/passwd\n   \
                    12: socket:[8]\n    3: socket:[x]\nUserBufs:\t0\nPollList:\n  op=1, socket:[9]\n";
        assert_eq!(parse(info), [47_461_947, 8]);
        assert_eq!(parse(""), [0; 0]);
    }
}
