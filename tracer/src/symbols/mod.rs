//! Call sites in people's words: `fetch_and_forget (leak.rs:37)`.
//!
//! Frames are named when they are shown, from the files that they lie in, so it does not matter
//! whether the process still lives. A file without symbols still gives its name and the offset.

mod frame_origin;

use frame_origin::origin;
pub use frame_origin::representative;

use crate::event::Frame;
use blazesym::symbolize::source::{Elf, Source};
use blazesym::symbolize::{CodeInfo, Input, Sym, Symbolized, Symbolizer};
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// A frame by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Name {
    /// The function; `None` when its file does not tell.
    pub function: Option<String>,
    /// The source file without its folders, and the line.
    pub line: Option<(String, u32)>,
    /// The executable, library or kernel module, without its folders.
    pub module: Option<String>,
    /// Whose code it is.
    pub origin: Origin,
    /// Where in the module, or in memory when that is not known either.
    pub offset: u64,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.function, &self.line, &self.module) {
            (Some(function), Some((file, line)), _) => write!(f, "{function} ({file}:{line})"),
            (Some(function), None, Some(module)) => write!(f, "{function} ({module})"),
            (Some(function), None, None) => f.write_str(function),
            (None, _, Some(module)) => write!(f, "{module}+{:#x}", self.offset),
            (None, _, None) => write!(f, "{:#x}", self.offset),
        }
    }
}

/// Whose code a frame is of; the later, the less it tells about a bug.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The program's own, as far as is known.
    #[default]
    Program,
    /// A library's that the program was built with.
    Dependency,
    /// The C library's, or a language's own.
    Runtime,
}

/// A place in a file: its path, and the offset.
pub type Place = (Arc<str>, u64);
/// Names by place, innermost first.
pub type Names = FxHashMap<Place, Vec<Name>>;

/// Names frames.
#[derive(Debug)]
pub enum Symbols {
    /// From the files of this machine; remembers those it has read.
    Files(Box<Symbolizer>),
    /// As they were recorded: the files may be on another machine, or others by now.
    Recorded(Names),
}

impl Default for Symbols {
    fn default() -> Self {
        Self::Files(Box::default())
    }
}

impl Symbols {
    /// The frames' names, innermost first; more than frames where functions were inlined.
    #[must_use]
    pub fn names(&self, frames: &[Frame]) -> Vec<Name> {
        frames.iter().flat_map(|frame| self.frame(frame)).collect()
    }

    fn frame(&self, frame: &Frame) -> Vec<Name> {
        match frame {
            Frame::File { path, offset } => self.in_file(path, *offset),
            Frame::Named { name, module } => {
                let module = module.as_ref().map(ToString::to_string);
                let function = Some(name.to_string());
                let origin = origin(name, module.as_deref().unwrap_or_default(), "");
                vec![Name { function, module, origin, ..Name::default() }]
            }
            Frame::Address(address) => vec![Name { offset: *address, ..Name::default() }],
        }
    }

    fn in_file(&self, path: &Arc<str>, offset: u64) -> Vec<Name> {
        let module = file_name(Path::new(&**path));
        let found = match self {
            Self::Files(files) => {
                let source = Source::Elf(Elf::new(&**path));
                match files.symbolize_single(&source, Input::FileOffset(offset)) {
                    Ok(Symbolized::Sym(symbol)) => Some(functions(&symbol, &module, offset)),
                    Ok(Symbolized::Unknown(_)) | Err(_) => None,
                }
            }
            Self::Recorded(names) => names.get(&(Arc::clone(path), offset)).cloned(),
        };
        found.unwrap_or_else(|| {
            let origin = origin("", &module, "");
            vec![Name { module: Some(module), origin, offset, ..Name::default() }]
        })
    }
}

/// The function at an address and those inlined there, innermost first.
fn functions(symbol: &Sym<'_>, module: &str, offset: u64) -> Vec<Name> {
    let source = |code: &CodeInfo<'_>| code.to_path().to_string_lossy().into_owned();
    let name = |function: &str, code: Option<&CodeInfo<'_>>| Name {
        function: Some(short(function)),
        origin: origin(function, module, &code.map(source).unwrap_or_default()),
        line: code.and_then(|code| Some((file_name(Path::new(&code.file)), code.line?))),
        module: Some(module.to_owned()),
        offset,
    };
    let inlined = symbol.inlined.iter().rev().map(|inner| name(&inner.name, inner.code_info.as_ref()));
    inlined.chain([name(&symbol.name, symbol.code_info.as_deref())]).collect()
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
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

    fn name(function: Option<&str>, line: Option<(&str, u32)>, module: Option<&str>) -> String {
        Name {
            function: function.map(Into::into),
            line: line.map(|(file, line)| (file.to_owned(), line)),
            module: module.map(Into::into),
            offset: 0x1a2b,
            ..Name::default()
        }
        .to_string()
    }

    #[test]
    fn a_name_says_what_is_known() {
        let (f, line, module) = (Some("fetch"), Some(("api.rs", 88)), Some("libc.so.6"));
        assert_eq!(name(f, line, module), "fetch (api.rs:88)");
        assert_eq!(name(f, None, module), "fetch (libc.so.6)");
        assert_eq!(name(f, None, None), "fetch");
        assert_eq!(name(None, None, module), "libc.so.6+0x1a2b");
        assert_eq!(name(None, None, None), "0x1a2b");
    }

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

    /// Named by the line that the test itself is at.
    #[cfg(unix)]
    #[test]
    #[inline(never)]
    fn this_very_function_is_found() {
        let program: Arc<str> = std::env::current_exe().unwrap().to_string_lossy().into();
        let here: fn() = this_very_function_is_found;
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
        let offset = maps.lines().find_map(|line| {
            let (start, rest) = line.split_once('-')?;
            let (end, rest) = rest.split_once(' ')?;
            let number = |hex| u64::from_str_radix(hex, 16).ok();
            let (start, end, address) = (number(start)?, number(end)?, here as usize as u64);
            let offset = number(rest.split(' ').nth(1)?)?;
            (start <= address && address < end).then_some(address - start + offset)
        });
        let Some(offset) = offset else {
            return assert!(maps.is_empty(), "not in its own maps");
        };
        let names = Symbols::default().names(&[Frame::File { path: program, offset }]);
        let name = representative(&names).unwrap().to_string();
        assert!(name.contains("this_very_function_is_found") && name.contains("(mod.rs:"), "{names:?}");
    }

    /// Not those of a file that has the same path here.
    #[test]
    fn recorded_names_are_the_recordings() {
        let recorded = Name { function: Some("fetch".to_owned()), ..Name::default() };
        let path: Arc<str> = std::env::current_exe().unwrap().to_string_lossy().into();
        let symbols =
            Symbols::Recorded([((Arc::clone(&path), 16), vec![recorded.clone()])].into_iter().collect());
        let at = |offset| symbols.names(&[Frame::File { path: Arc::clone(&path), offset }]);
        assert_eq!(at(16), [recorded]);
        assert_eq!((at(32)[0].function.as_ref(), at(32)[0].offset), (None, 32));
    }

    #[test]
    fn what_is_not_there_keeps_its_place() {
        let frame = Frame::File { path: "/no/such/library.so".into(), offset: 16 };
        assert_eq!(Symbols::default().names(&[frame])[0].to_string(), "library.so+0x10");
    }
}
