//! Which frame of a call site tells most: the first that is neither the C library nor a language's
//! own, for a bug is rarely there.

use super::Name;

/// How libraries are called that only pass calls on.
const LIBRARIES: [&str; 8] =
    ["libc.so", "libc-", "libpthread", "ld-linux", "ld-musl", "libm.so", "libstdc++", "[vdso]"];

/// How functions are called that only pass calls on.
const FUNCTIONS: [&str; 12] = [
    "std::",
    "core::",
    "alloc::",
    "<std::",
    "<core::",
    "<alloc::",
    "__",
    "syscall.",
    "runtime.",
    "internal/",
    "net.",
    "tokio::",
];

/// The frame to show when there is room for one.
#[must_use]
pub fn telling(names: &[Name]) -> Option<&Name> {
    names.iter().find(|name| !is_plumbing(name)).or_else(|| names.first())
}

fn is_plumbing(name: &Name) -> bool {
    let module = name.module.as_deref().unwrap_or_default();
    let function = name.function.as_deref().unwrap_or_default();
    LIBRARIES.iter().any(|library| module.starts_with(library))
        || FUNCTIONS.iter().any(|prefix| function.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(function: &str, module: &str) -> Name {
        Name { function: Some(function.to_owned()), module: Some(module.to_owned()), ..Name::default() }
    }

    #[test]
    fn the_programs_own_code_tells_most() {
        let names = [
            name("connect", "libc.so.6"),
            name("<std::net::tcp::TcpStream>::connect", "leak"),
            name("leak::fetch_and_forget", "leak"),
            name("leak::main", "leak"),
        ];
        assert_eq!(telling(&names), Some(&names[2]));
        assert_eq!(telling(&names[..2]), Some(&names[0]));
        assert_eq!(telling(&[]), None);
    }
}
