//! Selects the frame of a call site that is shown: the innermost one of the program's own code, because
//! bugs are rarely in the C library or in a language's runtime.

use super::{Name, Origin};

/// Prefixes of libraries that only pass calls on.
const LIBRARIES: [&str; 8] =
    ["libc.so", "libc-", "libpthread", "ld-linux", "ld-musl", "libm.so", "libstdc++", "[vdso]"];

/// Prefixes of functions that only pass calls on, in Rust and Go.
const FUNCTIONS: [&str; 12] = [
    "std::",
    "core::",
    "alloc::",
    "<std::",
    "<core::",
    "<alloc::",
    "syscall.",
    "internal/",
    "runtime.",
    "net.",
    "net/http.",
    "crypto/tls.",
];

/// Folders in source paths of a language's runtime, and of a program's dependencies.
const RUNTIME_SOURCES: [&str; 3] = ["/rustc/", "/rustlib/src/", "/sysdeps/"];
const DEPENDENCY_SOURCES: [&str; 4] = ["/.cargo/", "/registry/src/", "/go/pkg/mod/", "/vendor/"];

/// The frame to show when there is room for one; `None` if all are of a runtime.
#[must_use]
pub fn representative(names: &[Name]) -> Option<&Name> {
    let first = names.iter().min_by_key(|name| name.origin); // The first of several.
    first.filter(|name| name.origin != Origin::Runtime)
}

pub(super) fn origin(function: &str, module: &str, source: &str) -> Origin {
    let is_of = |known: &[&str], text: &str| known.iter().any(|prefix| text.starts_with(prefix));
    let comes_from = |known: &[&str]| known.iter().any(|folder| source.contains(folder));
    if is_of(&LIBRARIES, module) || is_of(&FUNCTIONS, function) || comes_from(&RUNTIME_SOURCES) {
        Origin::Runtime
    } else if comes_from(&DEPENDENCY_SOURCES) {
        Origin::Dependency
    } else {
        Origin::Program
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_programs_own_code_is_preferred() {
        let name = |(function, module, source): (&str, &str, &str)| Name {
            function: Some(function.to_owned()),
            origin: origin(function, module, source),
            ..Name::default()
        };
        let names = [
            ("connect", "libc.so.6", ""),
            ("connect", "leak", "/rustc/59807616/library/std/src/net/tcp.rs"),
            ("hyper::connect", "leak", "/home/me/.cargo/registry/src/hyper-1/src/connect.rs"),
            ("fetch_and_forget", "leak", "/home/me/leak/src/main.rs"),
            ("main", "leak", "/home/me/leak/src/main.rs"),
        ]
        .map(name);
        assert_eq!(representative(&names), Some(&names[3]));
        assert_eq!(representative(&names[..3]), Some(&names[2]));
        assert_eq!(representative(&names[..2]), None);
        assert_eq!(representative(&[]), None);
    }
}
