//! Names of call sites: `fetch_and_forget (leak.rs:37)`.
//!
//! ```text
//! pipeline, recorder ── request ──▶ Symbols ◀── names ── sinks
//!                                      │ queue
//!                                      ▼
//!                                   worker: one file at a time (files)
//! ```
//!
//! Names come from the executables and libraries, so the process need not exist any more. These files
//! belong to the traced programs, and one of them can make its reader wait forever. So a worker reads
//! them, with a deadline; a name that is not known by then is shown as module and offset. So is a
//! place in a file without symbols.

mod files;
mod frame_origin;
mod shared;
mod worker;

use frame_origin::origin;
pub use frame_origin::representative;
pub use shared::Symbols;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// A frame by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Name {
    /// The function; `None` when its file has no symbol for it.
    pub function: Option<String>,
    /// The source file, without folders, and the line.
    pub line: Option<(String, u32)>,
    /// The executable, library or kernel module, without folders.
    pub module: Option<String>,
    /// To what its code belongs.
    pub origin: Origin,
    /// Offset in the module, or the address when the module is not known.
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

/// To what a frame's code belongs. The later ones are less likely to have the bug.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The program itself, or unknown.
    #[default]
    Program,
    /// A library that the program was built with.
    Dependency,
    /// The C library or a language's runtime.
    Runtime,
}

/// A place in a file: its path, and the offset.
pub type Place = (Arc<str>, u64);
/// Names by place, innermost first.
pub type Names = FxHashMap<Place, Vec<Name>>;

/// Reads names from files. It may take long, or never return: a worker calls it.
pub trait ReadNames {
    /// The functions at `offset` of the file at `path`, innermost first; `None` when the file has no
    /// symbol for it.
    fn read(&mut self, path: &str, offset: u64) -> Option<Vec<Name>>;
}

/// The name of a place of which only the file is known.
fn unnamed(path: &str, offset: u64) -> Name {
    let module = file_name(path);
    let origin = origin("", &module, "");
    Name { module: Some(module), origin, offset, ..Name::default() }
}

fn file_name(path: &str) -> String {
    Path::new(path).file_name().map_or_else(|| path.to_owned(), |name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Frame;
    use std::time::{Duration, Instant};

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
            Symbols::recorded([((Arc::clone(&path), 16), vec![recorded.clone()])].into_iter().collect());
        let at = |offset| symbols.names(&[Frame::File { path: Arc::clone(&path), offset }]);
        assert_eq!(at(16), [recorded]);
        assert_eq!((at(32)[0].function.as_ref(), at(32)[0].offset), (None, 32));
    }

    #[test]
    fn what_is_not_there_keeps_its_place() {
        let frame = Frame::File { path: "/no/such/library.so".into(), offset: 16 };
        assert_eq!(Symbols::default().names(&[frame])[0].to_string(), "library.so+0x10");
    }

    /// One file never comes back; the names in others do.
    struct Stuck;

    impl ReadNames for Stuck {
        fn read(&mut self, path: &str, offset: u64) -> Option<Vec<Name>> {
            while path.contains("stuck") {
                std::thread::park();
            }
            Some(vec![Name { function: Some(format!("f{offset}")), ..Name::default() }])
        }
    }

    fn place(path: &str, offset: u64) -> Frame {
        Frame::File { path: path.into(), offset }
    }

    #[test]
    fn a_file_that_hangs_costs_its_own_names_only() {
        let symbols = Symbols::read_by(|| Box::new(Stuck), Duration::from_millis(500));
        let (stuck, good) = (place("/stuck.so", 1), place("/good.so", 2));
        symbols.request(&[stuck.clone(), good.clone(), place("/stuck.so", 3)]);
        assert_eq!(symbols.names(&[good])[0].to_string(), "f2");
        assert_eq!(symbols.names(&[stuck])[0].to_string(), "stuck.so+0x1");
        // The second place in the file is not even tried.
        assert_eq!(symbols.names(&[place("/stuck.so", 3)])[0].to_string(), "stuck.so+0x3");
        assert_eq!(symbols.missed(), (2, 1));
    }

    #[test]
    fn with_too_many_stuck_files_nothing_is_read_any_more() {
        let symbols = Symbols::read_by(|| Box::new(Stuck), Duration::from_millis(5));
        for file in 0..4 {
            let _ = symbols.names(&[place(&format!("/stuck{file}.so"), 1)]);
        }
        assert_eq!(symbols.names(&[place("/good.so", 2)])[0].to_string(), "good.so+0x2");
        assert_eq!(symbols.missed(), (5, 4));
    }

    #[test]
    fn nobody_waits_past_the_end() {
        let symbols = Symbols::read_by(|| Box::new(Stuck), Duration::from_secs(3_600));
        symbols.end_by(Instant::now());
        assert_eq!(symbols.names(&[place("/stuck.so", 1)])[0].to_string(), "stuck.so+0x1");
        assert_eq!(symbols.missed(), (1, 0));
    }

    #[test]
    fn what_is_found_is_listed_once() {
        let symbols = Symbols::read_by(|| Box::new(Stuck), Duration::from_secs(3_600));
        let mut seen = 0;
        symbols.prefetch(&[place("/good.so", 1), place("/good.so", 2)]);
        symbols.wait_all(Instant::now() + Duration::from_secs(60));
        assert_eq!(symbols.found_since(&mut seen).len(), 2);
        assert_eq!(symbols.found_since(&mut seen).len(), 0);
    }

    /// Opening it would wait for a writer that never comes.
    #[cfg(unix)]
    #[test]
    fn a_pipe_is_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe.so");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let symbols = Symbols::default();
        let name = symbols.names(&[place(pipe.to_str().unwrap(), 1)])[0].to_string();
        assert_eq!((name.as_str(), symbols.missed()), ("pipe.so+0x1", (0, 0)));
    }
}
