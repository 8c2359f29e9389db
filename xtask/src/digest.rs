//! SHA-256 of the probes' object and of the sources it comes from.

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};

/// SHA-256 in hexadecimal.
pub(crate) fn of_bytes(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// One digest over all that decides what the probes are: their package's sources and manifest, and
/// which aya-ebpf they are compiled with. It does not depend on where the checkout lies.
pub(crate) fn of_probe_sources(root: &Path) -> Result<String> {
    let package = root.join("tracer-ebpf");
    let mut files = vec![package.join("Cargo.toml")];
    collect_files(&package.join("src"), &mut files)?;
    let mut parts = Vec::new();
    for file in files {
        let bytes = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        parts.push((relative_name(root, &file), bytes));
    }
    parts.sort();
    let lock = fs::read_to_string(root.join("Cargo.lock")).context("cannot read Cargo.lock")?;
    parts.push(("Cargo.lock".to_owned(), pinned(&lock).into_bytes()));
    Ok(of_parts(&parts))
}

fn collect_files(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            collect_files(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

fn relative_name(root: &Path, file: &Path) -> String {
    let name = file.strip_prefix(root).unwrap_or(file);
    name.to_string_lossy().replace('\\', "/")
}

/// Names and lengths are hashed too, so that text moved from one file to the next is a change.
fn of_parts(parts: &[(String, Vec<u8>)]) -> String {
    let mut hash = Sha256::new();
    for (name, bytes) in parts {
        hash.update(format!("{name}\n{}\n", bytes.len()));
        hash.update(bytes);
    }
    hex(&hash.finalize())
}

/// The packages of a lock file that end up in the probes, one line each.
///
/// Their lists of dependencies are left out: cargo rewrites those when an unrelated crate comes in.
fn pinned(lock: &str) -> String {
    let mut lines = String::new();
    for package in lock.split("[[package]]").skip(1) {
        let field = |name| quoted_field(package, name).unwrap_or_default();
        let name = field("name");
        if name.starts_with("aya-ebpf") || name.starts_with("aya-log-") {
            lines += &format!("{name} {} {}\n", field("version"), field("checksum"));
        }
    }
    lines
}

fn quoted_field<'a>(package: &'a str, name: &str) -> Option<&'a str> {
    let value = |line: &'a str| line.strip_prefix(name)?.strip_prefix(" = ");
    Some(package.lines().find_map(value)?.trim_matches('"'))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = r#"
version = 4

[[package]]
name = "anyhow"
version = "1.0.1"
checksum = "aa"

[[package]]
name = "aya-ebpf"
version = "0.2.1"
checksum = "bb"
dependencies = [
 "aya-ebpf-macros",
]
"#;

    #[test]
    fn digests_are_the_usual_ones() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(of_bytes(b""), empty);
    }

    #[test]
    fn only_what_the_probes_are_compiled_with_is_pinned() {
        assert_eq!(pinned(LOCK), "aya-ebpf 0.2.1 bb\n");
    }

    #[test]
    fn text_moved_between_files_is_a_change() {
        let parts = |a: &str, b: &str| vec![("a".into(), a.into()), ("b".into(), b.into())];
        assert_ne!(of_parts(&parts("xy", "z")), of_parts(&parts("x", "yz")));
    }

    #[test]
    fn the_place_of_the_checkout_does_not_matter_and_the_sources_do() {
        let checkout = |code: &str| {
            let root = tempfile::tempdir().unwrap();
            let src = root.path().join("tracer-ebpf/src");
            fs::create_dir_all(&src).unwrap();
            fs::write(src.join("main.rs"), code).unwrap();
            fs::write(root.path().join("tracer-ebpf/Cargo.toml"), "").unwrap();
            fs::write(root.path().join("Cargo.lock"), LOCK).unwrap();
            of_probe_sources(root.path()).unwrap()
        };
        assert_eq!(checkout("fn a() {}"), checkout("fn a() {}"));
        assert_ne!(checkout("fn a() {}"), checkout("fn b() {}"));
    }
}
