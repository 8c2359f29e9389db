//! A copy of portleak.exe that imports from another library than Windows' own.
//!
//! Where the program imports a function that `tests/wine/fakewin` provides, the name of that
//! library in its import table becomes `fake.dll`. This one has no code: it passes what is faked on
//! to `fakewin.dll` and all the rest to where it came from. Not one instruction of the program differs.

use anyhow::{Context, Result, bail, ensure};
use object::LittleEndian as LE;
use object::read::pe::{Import, PeFile64};
use std::collections::{BTreeMap, BTreeSet};

/// What is imported from instead; no longer than the names of the libraries that it replaces.
pub(super) const LIBRARY: &str = "fake.dll";

/// A program with another import table.
#[derive(Debug)]
pub(super) struct Patched {
    /// The program.
    pub(super) exe: Vec<u8>,
    /// What [`LIBRARY`] exports, as the linker reads it.
    pub(super) exports: String,
}

/// Lets `exe` import from [`LIBRARY`] the functions that `fake` exports.
///
/// # Errors
/// When one of them is no program or library for 64-bit Windows, or a library's name has no room.
pub(super) fn patch(exe: &[u8], fake: &[u8]) -> Result<Patched> {
    let faked = exports(fake)?;
    let mut patched = exe.to_vec();
    let mut passed_on = BTreeMap::new();
    for imported in imports(exe)? {
        if !imported.functions.iter().any(|function| faked.contains(function)) {
            continue;
        }
        imported.rename(&mut patched)?;
        let library = imported.library.rsplit_once('.').map_or(&*imported.library, |(stem, _)| stem);
        for function in imported.functions {
            let from = if faked.contains(&function) { "fakewin" } else { library };
            passed_on.insert(function, from.to_owned());
        }
    }
    ensure!(!passed_on.is_empty(), "the program imports nothing that is faked");
    let exports = passed_on.iter().map(|(function, from)| format!("  {function} = {from}.{function}\n"));
    Ok(Patched { exe: patched, exports: format!("EXPORTS\n{}", exports.collect::<String>()) })
}

/// What a program imports from one library.
#[derive(Debug)]
struct Imported {
    library: String,
    /// Where its name lies in the program's file.
    at: usize,
    functions: Vec<String>,
}

impl Imported {
    fn rename(&self, exe: &mut [u8]) -> Result<()> {
        let room = self.library.len();
        ensure!(LIBRARY.len() <= room, "{} is too short a name to become {LIBRARY}", self.library);
        let name = exe.get_mut(self.at..self.at + room).context("its name lies in the file")?;
        name.fill(0);
        name[..LIBRARY.len()].copy_from_slice(LIBRARY.as_bytes());
        Ok(())
    }
}

fn imports(exe: &[u8]) -> Result<Vec<Imported>> {
    let file = PeFile64::parse(exe).context("a program for Windows")?;
    let sections = file.section_table();
    let table = file.import_table()?.context("a program imports something")?;
    let mut all = Vec::new();
    let mut descriptors = table.descriptors()?;
    while let Some(descriptor) = descriptors.next()? {
        let name = descriptor.name.get(LE);
        let library = text(table.name(name)?);
        let (at, _) = sections.pe_file_range_at(name).context("its name lies in the file")?;
        let mut thunks = table.thunks(descriptor.original_first_thunk.get(LE))?;
        let mut functions = Vec::new();
        while let Some(thunk) = thunks.next::<object::pe::ImageNtHeaders64>()? {
            match table.import::<object::pe::ImageNtHeaders64>(thunk)? {
                Import::Name(_, name) => functions.push(text(name)),
                Import::Ordinal(number) => functions.push(format!("#{number}")),
            }
        }
        all.push(Imported { library, at: usize::try_from(at)?, functions });
    }
    Ok(all)
}

fn exports(library: &[u8]) -> Result<BTreeSet<String>> {
    let file = PeFile64::parse(library).context("a library for Windows")?;
    let Some(table) = file.export_table()? else {
        bail!("the library exports nothing");
    };
    let exports = table.exports()?;
    Ok(exports.iter().filter_map(|export| export.name).map(text).collect())
}

fn text(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}
