//! Names from ELF files and their debug information.

use super::{Name, ReadNames, file_name, origin};
use blazesym::symbolize::source::{Elf, Source};
use blazesym::symbolize::{CodeInfo, Input, Sym, Symbolized, Symbolizer};
use std::path::Path;

/// Reads ELF files; remembers those it has read.
#[derive(Debug, Default)]
pub(super) struct Files(Symbolizer);

impl ReadNames for Files {
    fn read(&mut self, path: &str, offset: u64) -> Option<Vec<Name>> {
        // To open a pipe waits for its writer.
        if !Path::new(path).metadata().ok()?.is_file() {
            return None;
        }
        match self.0.symbolize_single(&Source::Elf(Elf::new(path)), Input::FileOffset(offset)) {
            Ok(Symbolized::Sym(symbol)) => Some(functions(&symbol, &file_name(path), offset)),
            Ok(Symbolized::Unknown(_)) | Err(_) => None,
        }
    }
}

/// The function at an address and those inlined there, innermost first.
fn functions(symbol: &Sym<'_>, module: &str, offset: u64) -> Vec<Name> {
    let source = |code: &CodeInfo<'_>| code.to_path().to_string_lossy().into_owned();
    let name = |function: &str, code: Option<&CodeInfo<'_>>| Name {
        function: Some(short(function)),
        origin: origin(function, module, &code.map(source).unwrap_or_default()),
        line: code.and_then(|code| Some((file_name(&code.file.to_string_lossy()), code.line?))),
        module: Some(module.to_owned()),
        offset,
    };
    let inlined = symbol.inlined.iter().rev().map(|inner| name(&inner.name, inner.code_info.as_ref()));
    inlined.chain([name(&symbol.name, symbol.code_info.as_deref())]).collect()
}

/// Without type parameters, which can fill a screen: `connect` of `connect<core::net::SocketAddr>`.
fn short(function: &str) -> String {
    let mut name = String::with_capacity(function.len());
    let (mut depth, mut before) = (0_usize, ' ');
    for letter in function.chars() {
        match letter {
            '<' if depth > 0 || before.is_alphanumeric() || before == '_' => depth += 1,
            '>' if depth > 0 && before != '-' => depth -= 1,
            _ if depth == 0 => name.push(letter),
            _ => {}
        }
        before = letter;
    }
    if depth == 0 && !function.contains("operator") { name } else { function.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_parameters_are_left_out() {
        for (long, expected) in [
            ("connect<core::net::SocketAddr>", "connect"),
            ("call_mut<fn(&A) -> Result<B, C>, (&D)>", "call_mut"),
            ("<leak::Pool as Drop>::drop", "<leak::Pool as Drop>::drop"),
            ("leak::fetch_and_forget", "leak::fetch_and_forget"),
            ("std::vector<int, std::allocator<int> >::at", "std::vector::at"),
            ("operator<<<int>", "operator<<<int>"),
        ] {
            assert_eq!(short(long), expected);
        }
    }
}
