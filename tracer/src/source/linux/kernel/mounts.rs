//! What is mounted where, from `/proc/self/mountinfo`.
//!
//! Paths are bytes, and whoever mounts something chooses them: one that is no UTF-8 concerns only
//! whoever needs that mount.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The part of the filesystem that is mounted, `/` for all of it.
    pub root: OsString,
    /// Where.
    pub point: PathBuf,
    /// The filesystem's type.
    pub filesystem: OsString,
}

/// Every mount that we see.
///
/// # Errors
/// When /proc is not mounted.
pub fn all() -> io::Result<Vec<Mount>> {
    fs::read("/proc/self/mountinfo").map(|content| parse(&content))
}

/// Reads a mountinfo file (`show_mountinfo`, fs/proc_namespace.c); lines of another form are left out.
fn parse(content: &[u8]) -> Vec<Mount> {
    content.split(|byte| *byte == b'\n').filter_map(mount).collect()
}

fn mount(line: &[u8]) -> Option<Mount> {
    let mut columns = line.split(|byte| *byte == b' ').skip(3);
    let (root, point) = (columns.next()?, columns.next()?);
    // Optional columns end with a lone hyphen; the filesystem's type comes next.
    let filesystem = columns.skip_while(|column| *column != b"-").nth(1)?;
    Some(Mount {
        root: unescape(root),
        point: unescape(point).into(),
        filesystem: OsStr::from_bytes(filesystem).to_owned(),
    })
}

/// Blanks and the like are written as three octal digits (`mangle`, fs/proc_namespace.c).
fn unescape(escaped: &[u8]) -> OsString {
    let mut rest = escaped;
    let mut bytes = Vec::with_capacity(escaped.len());
    while let [first, after @ ..] = rest {
        let (byte, after) = octal(rest).unwrap_or((*first, after));
        bytes.push(byte);
        rest = after;
    }
    OsString::from_vec(bytes)
}

/// The byte that an escape stands for, and what follows it.
fn octal(text: &[u8]) -> Option<(u8, &[u8])> {
    let [b'\\', digits @ ..] = text else {
        return None;
    };
    let (digits, after) = digits.split_at_checked(3)?;
    let byte = u8::from_str_radix(str::from_utf8(digits).ok()?, 8).ok()?;
    Some((byte, after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn mounts_of_several_kinds() {
        let text = b"31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
            38 31 0:35 /a /mnt/a\\040b rw shared:10 master:1 - cgroup2 cgroup2 rw\n\
            99 27 0:4 net:[4026532001] /run/\xff rw shared:5 - nsfs nsfs rw\n\
            cut - short\n";
        let mounts = parse(text);
        let shown = |mount: &Mount| (mount.root.clone(), mount.point.clone(), mount.filesystem.clone());
        let expected = |root: &str, point: &[u8], filesystem: &str| {
            (root.into(), Path::new(OsStr::from_bytes(point)).to_owned(), filesystem.into())
        };
        assert_eq!(
            mounts.iter().map(shown).collect::<Vec<_>>(),
            [
                expected("/", b"/sys/fs/cgroup", "tmpfs"),
                expected("/a", b"/mnt/a b", "cgroup2"),
                expected("net:[4026532001]", b"/run/\xff", "nsfs"),
            ]
        );
    }

    #[test]
    fn what_is_no_escape_stays_as_it_is() {
        for (escaped, path) in [(r"/a\134b", r"/a\b"), (r"/a\9", r"/a\9"), (r"/a\999b", r"/a\999b"), ("", "")]
        {
            assert_eq!(unescape(escaped.as_bytes()), path, "{escaped}");
        }
    }

    #[test]
    fn proc_is_mounted() {
        assert!(all().unwrap().iter().any(|mount| mount.filesystem == "proc"));
    }
}
