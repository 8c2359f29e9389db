//! Recordings that lie in `tests/fixtures`: what they say must not change unnoticed, and what is no
//! recording is refused by what it is. Needs no privileges, and no Linux.
//!
//! `leak.plk` was recorded with `portleak run --record leak.plk -- target/release/examples/leak 12 20`.
//! Later versions must be able to read it, so it is never recorded again.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use portleak_tests::program;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn tests() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn leak() -> PathBuf {
    tests().join("fixtures/leak.plk")
}

fn replay(file: &Path, arguments: &[&str]) -> Output {
    let mut portleak = Command::new(program::portleak());
    portleak.arg("replay").arg(file).args(arguments).env("TZ", "UTC").output().unwrap()
}

/// Compares with a file of `tests/golden`, or writes it when `PORTLEAK_BLESS` is set.
fn golden(name: &str, arguments: &[&str]) {
    let output = replay(&leak(), arguments);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
    let said = String::from_utf8(output.stdout).unwrap();
    let path = tests().join("golden").join(name);
    if std::env::var_os("PORTLEAK_BLESS").is_some() {
        fs::write(path, said).unwrap();
        return;
    }
    let expected = fs::read_to_string(path).unwrap();
    assert_eq!(expected, said, "{name}; PORTLEAK_BLESS=1 rewrites it");
}

#[test]
fn text() {
    golden("replay-leak.txt", &[]);
}

#[test]
fn json() {
    golden("replay-leak.jsonl", &["--format", "json"]);
}

#[test]
fn another_profile() {
    golden("replay-leak-production.txt", &["--profile", "production"]);
}

#[test]
fn a_leak_fails_when_asked_to() {
    assert_eq!(replay(&leak(), &["--fail-on-leak", "-q"]).status.code(), Some(3));
}

/// Replays a file with these bytes: exit code, standard output, standard error.
fn replay_bytes(bytes: &[u8]) -> (Option<i32>, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, bytes).unwrap();
    let output = replay(&file, &["-q"]);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_cut_recording_says_what_is_there_and_where_it_ends() {
    let whole = fs::read(leak()).unwrap();
    let (code, said, note) = replay_bytes(&whole[..whole.len() * 3 / 4]);
    assert_eq!(code, Some(1), "{note}");
    assert!(said.contains("ports to 127.0.0.1:"), "{said}");
    assert!(note.contains("the recording is cut at byte "), "{note}");
}

#[test]
fn a_flipped_byte_costs_a_block() {
    let mut bytes = fs::read(leak()).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let (code, said, note) = replay_bytes(&bytes);
    assert_eq!(code, Some(1), "{note}");
    assert!(said.contains("events lost (") && said.contains("totals are inexact"), "{said}");
    assert!(
        note.contains("the recording is damaged at byte ") && note.contains("60 events were in"),
        "{note}"
    );
}

#[test]
fn what_is_no_recording_is_called_by_its_name() {
    let etl = [&[0, 2, 0, 0][..], &[0; 70], &[2, 0xc0, 0, 0]].concat();
    let later = [&b"\x89PLK\r\n\x1a\n"[..], &[7, 0, 0, 0]].concat();
    let files: [(&[u8], &str); 9] = [
        (b"", "it is empty"),
        (b"\x89PL", "it is cut within its first bytes"),
        (b"\x1f\x8b\x08\x00", "remedy: unpack it first: gunzip"),
        (b"no such thing\n", "it is a text"),
        (b"{\"schema\":1,\"type\":\"start\"}\n", "it is the output of --format json"),
        (b"\x7fELF\x02\x01\x01\x00", "it is not a recording of portleak"),
        (b"\xd4\xc3\xb2\xa1\x02\x00", "it contains captured packets"),
        (&etl, "it does not begin with the header of an event trace"),
        (&later, "format 7, and this portleak reads formats up to 1\n  remedy: update portleak"),
    ];
    for (bytes, says) in files {
        let (code, said, error) = replay_bytes(bytes);
        assert_eq!((code, said.as_str()), (Some(1), ""), "{error}");
        assert!(error.contains(says) && error.contains("remedy: "), "{says:?} not in {error}");
    }
}

#[test]
fn what_is_no_file_is_told() {
    let says = |path: &str| String::from_utf8(replay(Path::new(path), &[]).stderr).unwrap();
    assert!(says("/nonexistent/leak.plk").contains("cannot replay /nonexistent/leak.plk: "));
    assert!(says(env!("CARGO_MANIFEST_DIR")).contains("it is not a regular file"));
}
