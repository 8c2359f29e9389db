//! What this needs of the machine: a compiler for Windows, MinGW to link with, wine to run.

use super::compiler::{self, Compiler};
use crate::machine;
use anyhow::{Result, bail};
use std::env;
use std::path::PathBuf;

/// The C compiler that links for Windows.
pub(super) const GCC: &str = "x86_64-w64-mingw32-gcc";

/// Programs and the Debian packages that bring them.
const PROGRAMS: [(&str, &[&str]); 2] =
    [(GCC, &["gcc-mingw-w64-x86-64-win32"]), ("wine", &["wine", "wine64"])];

/// A compiler, after installing what was missing.
///
/// # Errors
/// When something is missing and we may not install it: the text says what to type.
pub(super) fn install_missing() -> Result<Compiler> {
    if let Some(instructions) = lacking()? {
        bail!(instructions);
    }
    let packages = missing()?;
    if !packages.is_empty() {
        machine::install(&packages)?;
    }
    match compiler::choose(&compiler::look()?) {
        Some(compiler) => Ok(compiler.clone()),
        None => bail!(instructions(&compiler::PACKAGES)),
    }
}

/// What is missing and may not be installed, as a text that says what to type.
pub(super) fn lacking() -> Result<Option<String>> {
    let packages = missing()?;
    Ok((!packages.is_empty() && !machine::may_install()).then(|| instructions(&packages)))
}

fn missing() -> Result<Vec<&'static str>> {
    let compiler = compiler::choose(&compiler::look()?).is_some();
    Ok(packages(compiler, |program| path_of(program).is_some()))
}

fn packages(compiler: bool, is_there: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let compiler = if compiler { &[] } else { compiler::PACKAGES.as_slice() };
    let programs = PROGRAMS.iter().filter(|(program, _)| !is_there(program));
    compiler.iter().chain(programs.flat_map(|(_, packages)| *packages)).copied().collect()
}

/// Where a program is that one may type.
pub(super) fn path_of(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

fn instructions(packages: &[&str]) -> String {
    format!(
        "tools to build and run portleak.exe are missing. On Debian 12 or later type\n\
         \n    sudo apt-get install --no-install-recommends {}\n\n\
         Elsewhere install MinGW-w64 and wine, and type\n\
         \n    rustup target add {}\n",
        packages.join(" "),
        compiler::TARGET
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_is_installed() {
        assert!(packages(true, |_| true).is_empty());
        assert_eq!(packages(true, |program| program != "wine"), ["wine", "wine64"]);
        assert_eq!(packages(false, |_| true), compiler::PACKAGES);
    }

    #[test]
    fn the_user_is_told_what_to_type() {
        let text = instructions(&packages(false, |_| false));
        assert!(text.contains("--no-install-recommends rustc-web rust-web-src "), "{text}");
        assert!(text.contains("gcc-mingw-w64-x86-64-win32 wine wine64\n"), "{text}");
        assert!(text.contains("rustup target add x86_64-pc-windows-gnu\n"), "{text}");
    }
}
