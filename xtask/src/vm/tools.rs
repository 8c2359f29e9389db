//! What this needs of the machine, by program and Debian package.

use super::debian::KEYRING;
use crate::machine;
use anyhow::{Result, bail};
use std::path::Path;

/// A file that must be there and the package that brings it.
const NEEDED: [(&str, &str); 7] = [
    ("/usr/bin/apt-get", "apt"),
    ("/usr/bin/qemu-system-x86_64", "qemu-system-x86"),
    (BUSYBOX, "busybox-static"),
    (IP, "iproute2"),
    ("/usr/bin/xz", "xz-utils"),
    ("/usr/bin/strip", "binutils"),
    (KEYRING, "debian-archive-keyring"),
];

/// The guest's shell and tools.
pub(super) const BUSYBOX: &str = "/bin/busybox";

/// Makes network devices, which busybox's own `ip` can do for a few kinds only. The live tests on this
/// machine's kernel call it too.
pub(super) const IP: &str = "/bin/ip";

/// What is missing and may not be installed, as a text that says what to type.
pub(crate) fn lacking() -> Option<String> {
    let packages = missing(|file| Path::new(file).exists());
    (!packages.is_empty() && !machine::may_install()).then(|| instructions(&packages))
}

/// Installs what is missing.
///
/// # Errors
/// When we may not install: the text says what to type.
pub(crate) fn install_missing() -> Result<()> {
    if let Some(instructions) = lacking() {
        bail!(instructions);
    }
    let packages = missing(|file| Path::new(file).exists());
    if packages.is_empty() { Ok(()) } else { machine::install(&packages) }
}

fn missing(is_there: impl Fn(&str) -> bool) -> Vec<&'static str> {
    NEEDED.iter().filter(|(file, _)| !is_there(file)).map(|(_, package)| *package).collect()
}

fn instructions(packages: &[&str]) -> String {
    if packages.contains(&"apt") {
        return "the kernels come from Debian's archive, and there is no apt here; \
                use a machine or a container with Debian"
            .to_owned();
    }
    format!(
        "tools to boot kernels are missing. On Debian type\n\
         \n    sudo apt-get install --no-install-recommends {}\n",
        packages.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_is_installed() {
        let packages = missing(|file| file != BUSYBOX && file != KEYRING);
        assert_eq!(packages, ["busybox-static", "debian-archive-keyring"]);
        assert!(missing(|_| true).is_empty());
    }

    #[test]
    fn the_user_is_told_what_to_type() {
        let text = instructions(&["qemu-system-x86", "xz-utils"]);
        assert!(text.contains("apt-get install --no-install-recommends qemu-system-x86 xz-utils\n"));
        assert!(instructions(&["apt"]).contains("no apt"));
    }
}
