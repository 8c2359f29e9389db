//! The archive that the kernel unpacks into its first file system: "newc", uncompressed
//! (Documentation/driver-api/early-userspace/buffer-format.rst).

use std::collections::BTreeSet;
use std::path::Path;

/// What a file of the archive is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Data.
    Plain = 0o100_644,
    /// A program.
    Program = 0o100_755,
}

const FOLDER: u32 = 0o040_755;
/// The name that ends an archive.
const TRAILER: &str = "TRAILER!!!";

/// An archive in the making.
#[derive(Default)]
pub(crate) struct Cpio {
    bytes: Vec<u8>,
    entries: u32,
    names: BTreeSet<String>,
}

impl Cpio {
    /// Adds a file and the folders on the way to it; the first of a name stays.
    pub(crate) fn file(&mut self, path: &Path, mode: Mode, data: &[u8]) {
        if let Some(parent) = path.parent() {
            self.folder(parent);
        }
        self.entry(&name(path), mode as u32, data);
    }

    /// Adds a folder and those on the way to it.
    pub(crate) fn folder(&mut self, path: &Path) {
        let mut folders: Vec<_> = path.ancestors().map(name).filter(|name| !name.is_empty()).collect();
        folders.reverse();
        for folder in folders {
            self.entry(&folder, FOLDER, b"");
        }
    }

    /// The finished archive.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry(TRAILER, 0, b"");
        self.bytes
    }

    fn entry(&mut self, name: &str, mode: u32, data: &[u8]) {
        if !self.names.insert(name.to_owned()) {
            return;
        }
        self.entries += 1;
        let inode = self.entries;
        // c_magic, c_ino, c_mode, c_uid, c_gid, c_nlink, c_mtime, c_filesize, four device numbers,
        // c_namesize, c_check.
        let (size, name_size) = (data.len(), name.len() + 1);
        let head = format!(
            "070701{inode:08x}{mode:08x}{0:08x}{0:08x}{1:08x}{0:08x}{size:08x}\
             {0:08x}{0:08x}{0:08x}{0:08x}{name_size:08x}{0:08x}{name}\0",
            0, 1
        );
        self.bytes.extend(head.into_bytes());
        self.pad();
        self.bytes.extend(data);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// Names in the archive are relative to the root.
fn name(path: &Path) -> String {
    path.to_string_lossy().trim_start_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, mode and data of every entry.
    fn entries(bytes: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let mut entries = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            assert_eq!(&bytes[at..at + 6], b"070701");
            let number = |index: usize| {
                let digits = &bytes[at + 6 + index * 8..][..8];
                usize::from_str_radix(str::from_utf8(digits).unwrap(), 16).unwrap()
            };
            let (mode, size, name_size) = (number(1), number(6), number(11));
            let name = str::from_utf8(&bytes[at + 110..][..name_size - 1]).unwrap().to_owned();
            let data = (at + 110 + name_size).next_multiple_of(4);
            entries.push((name, u32::try_from(mode).unwrap(), bytes[data..][..size].to_vec()));
            at = (data + size).next_multiple_of(4);
        }
        entries
    }

    #[test]
    fn folders_come_before_what_is_in_them_and_once() {
        let mut archive = Cpio::default();
        archive.file(Path::new("/bin/a"), Mode::Program, b"12345");
        archive.file(Path::new("/bin/b"), Mode::Plain, b"");
        archive.folder(Path::new("/a/b"));
        let found = entries(&archive.finish());
        let shown: Vec<_> = found.iter().map(|(name, mode, _)| (name.as_str(), *mode)).collect();
        let expected = [
            ("bin", FOLDER),
            ("bin/a", 0o100_755),
            ("bin/b", 0o100_644),
            ("a", FOLDER),
            ("a/b", FOLDER),
            (TRAILER, 0),
        ];
        assert_eq!(shown, expected);
        assert_eq!(found[1].2, b"12345");
    }

    #[test]
    fn the_first_of_a_name_stays() {
        let mut archive = Cpio::default();
        archive.file(Path::new("/x"), Mode::Plain, b"first");
        archive.file(Path::new("/x"), Mode::Plain, b"second");
        let found = entries(&archive.finish());
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].2, b"first");
    }
}
