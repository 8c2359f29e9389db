//! What scripts rely on before any tracing begins: exit codes, and messages that name the
//! mistake and the way out. Needs no privileges.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use portleak_tests::program;
use std::process::{Command, Output};

fn portleak(line: &str) -> Output {
    Command::new(program::portleak()).args(line.split_whitespace()).output().unwrap()
}

/// Runs `line` and checks its exit code, that stdout is empty, and what stderr says.
fn refused(line: &str, code: i32, says: &[&str]) {
    let output = portleak(line);
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{line}: {message}");
    assert!(output.stdout.is_empty(), "{line}");
    for part in says {
        assert!(message.contains(part), "{line}: {part:?} not in {message}");
    }
}

#[test]
fn wrong_usage_is_2() {
    refused("run", 2, &["portleak run [OPTIONS] -- CMD [ARG]..."]);
    refused("run foo", 2, &["portleak run -- foo"]);
    refused("trace --duration banana", 2, &["banana", "30s"]);
    refused("trace --buffer banana", 2, &["banana", "4M"]);
    refused("bogus", 2, &["bogus"]);
    refused("", 2, &["portleak trace --duration 30s"]);
}

#[test]
#[cfg(unix)]
fn a_pid_that_is_not_there_is_told_before_tracing() {
    refused("trace --pid 999999999", 1, &["999999999", "remedy: "]);
    refused("run --pid 999999999 -- true", 125, &["999999999"]);
}

#[test]
#[cfg(target_os = "linux")]
fn a_place_that_is_not_there_is_told_before_tracing() {
    refused("trace --netns 1", 1, &["inode number 1", "remedy: "]);
    refused("run --netns 1 -- true", 125, &["inode number 1"]);
    refused("trace --cgroup /no/such", 1, &["/no/such", "remedy: "]);
    refused("run --cgroup /no/such -- true", 125, &["/no/such"]);
    refused("trace --netns blue", 2, &["blue", "self, all"]);
}

#[test]
fn an_output_that_cannot_be_written_is_told_before_tracing() {
    let says = ["/nonexistent/out.txt", "remedy: "];
    refused("trace --output /nonexistent/out.txt", 1, &says);
    refused("run --output /nonexistent/out.txt -- true", 125, &says);
}

#[test]
fn a_recording_that_cannot_be_written_is_told_before_tracing() {
    let says = ["/nonexistent/leak.plk", "remedy: choose a --record"];
    refused("trace --record /nonexistent/leak.plk", 1, &says);
    refused("run --record /nonexistent/leak.plk -- true", 125, &says);
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_told_before_tracing() {
    let says = ["cannot write the recording /dev/full: No space left", "remedy: free space"];
    refused("trace --record /dev/full", 1, &says);
    refused("run --record /dev/full -- true", 125, &says);
}

#[test]
fn help_and_version_are_no_mistakes() {
    for line in [
        "--help",
        "run --help",
        "trace --help",
        "replay --help",
        "doctor --help",
        "explain --help",
        "explain",
        "--version",
    ] {
        let output = portleak(line);
        assert_eq!(output.status.code(), Some(0), "{line}");
        assert!(!output.stdout.is_empty(), "{line}");
    }
}

#[test]
fn a_code_is_explained_or_named() {
    let output = portleak("explain Cannot assign requested address");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.starts_with("EADDRNOTAVAIL on Linux\n  Cannot assign"), "{text}");
    let output = portleak("explain -1073741303");
    assert!(String::from_utf8_lossy(&output.stdout).contains("STATUS_TOO_MANY_ADDRESSES"));
    refused("explain nothing", 1, &["\"nothing\"", "remedy: portleak explain"]);
}
