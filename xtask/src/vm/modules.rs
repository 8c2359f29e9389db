//! The modules that a guest can load, with what they need of each other, laid out for `modprobe`.
//!
//! The kernel asks for most of them by itself, as it does on any machine: `sock_diag` for
//! `tcp_diag`, `ip link add type wireguard` for wireguard.

use anyhow::{Context, Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What portleak asks for when it starts, the users of ports in the kernel that the live tests try, and
/// a protocol of a proof workload's.
pub(super) const WANTED: [&str; 14] = [
    "inet_diag",
    "tcp_diag",
    "udp_diag",
    "vxlan",
    "geneve",
    "wireguard",
    "rds_tcp",
    "nfs",
    "nfsv3",
    "cifs",
    "9p",
    "9pnet_fd",
    "nvme_tcp",
    "sctp",
];

/// What a release offers: the modules' files by name, all below one folder.
pub(super) struct Tree {
    files: BTreeMap<String, PathBuf>,
}

/// A module as it goes into the guest.
struct Module {
    data: Vec<u8>,
    /// Without those that are part of this kernel.
    depends: Vec<String>,
}

impl Tree {
    /// Finds all modules below `folder`.
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let mut files = BTreeMap::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
                let path = entry?.path();
                if path.is_dir() {
                    folders.push(path);
                } else if let Some(name) = module_name(&path) {
                    files.insert(name, path);
                }
            }
        }
        Ok(Self { files })
    }

    /// Writes the wanted modules, unpacked, and what `modprobe` reads into `to`. What this release
    /// does not offer is left out: its test says so.
    pub(super) fn write_wanted(&self, to: &Path) -> Result<()> {
        fs::create_dir_all(to)?;
        let modules = self.closure(&WANTED)?;
        for (name, module) in &modules {
            fs::write(to.join(file_name(name)), &module.data)?;
        }
        fs::write(to.join("modules.dep"), dependencies(&modules))?;
        fs::write(to.join("modules.alias"), aliases(&modules))?;
        Ok(())
    }

    /// The modules of these names and all that they need.
    fn closure(&self, names: &[&str]) -> Result<BTreeMap<String, Module>> {
        let mut modules = BTreeMap::new();
        let mut wanted: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        while let Some(name) = wanted.pop() {
            let Some(path) = self.files.get(&name).filter(|_| !modules.contains_key(&name)) else {
                continue;
            };
            let data = unpacked(path)?;
            let depends = values(&data, "depends=").flat_map(|names| names.split(','));
            let depends: Vec<_> = depends.map(underscored).filter(|it| self.files.contains_key(it)).collect();
            wanted.extend(depends.iter().cloned());
            modules.insert(name, Module { data, depends });
        }
        Ok(modules)
    }
}

fn file_name(module: &str) -> String {
    format!("{module}.ko")
}

/// The kernel's name for a module's file: `nvme-tcp.ko.xz` is `nvme_tcp`.
fn module_name(path: &Path) -> Option<String> {
    let file = path.file_name()?.to_str()?;
    let name = file.strip_suffix(".xz").unwrap_or(file).strip_suffix(".ko")?;
    Some(underscored(name))
}

fn underscored(name: &str) -> String {
    name.replace('-', "_")
}

fn unpacked(path: &Path) -> Result<Vec<u8>> {
    if path.extension().is_some_and(|extension| extension == "ko") {
        return fs::read(path).with_context(|| path.display().to_string());
    }
    let output = Command::new("xz").args(["--decompress", "--stdout"]).arg(path).output();
    let output = output.context("cannot start xz")?;
    if !output.status.success() {
        bail!("{} cannot be unpacked", path.display());
    }
    Ok(output.stdout)
}

/// What a module says of itself (section `.modinfo`): strings `key=value`, each ended by a zero. What
/// lies before the section need not end with one.
fn values<'a>(module: &'a [u8], key: &str) -> impl Iterator<Item = &'a str> {
    let texts = module.split(|byte| *byte == 0);
    let values = texts.filter_map(move |text| {
        let at = text.windows(key.len()).position(|part| part == key.as_bytes())?;
        str::from_utf8(&text[at + key.len()..]).ok()
    });
    values.filter(|value| !value.is_empty())
}

/// `modules.dep`: each module's file and those that it needs; the last is loaded first.
fn dependencies(modules: &BTreeMap<String, Module>) -> String {
    let mut text = String::new();
    for name in modules.keys() {
        let mut first_to_last = Vec::new();
        needs(name, modules, &mut BTreeSet::new(), &mut first_to_last);
        let files: Vec<_> = first_to_last.iter().rev().skip(1).map(|name| file_name(name)).collect();
        // Writing to a string does not fail.
        let _ = writeln!(text, "{}: {}", file_name(name), files.join(" "));
    }
    text
}

/// A module after all that it needs.
fn needs<'a>(
    name: &'a str,
    modules: &'a BTreeMap<String, Module>,
    seen: &mut BTreeSet<&'a str>,
    first_to_last: &mut Vec<&'a str>,
) {
    if seen.insert(name) {
        let depends = modules.get(name).into_iter().flat_map(|module| &module.depends);
        depends.for_each(|name| needs(name, modules, seen, first_to_last));
        first_to_last.push(name);
    }
}

/// `modules.alias`: the names that the kernel asks for.
fn aliases(modules: &BTreeMap<String, Module>) -> String {
    let mut text = String::new();
    for (name, module) in modules {
        for alias in values(&module.data, "alias=") {
            let _ = writeln!(text, "alias {alias} {name}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(files: &[(&str, &str)]) -> (String, String) {
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("kernel/net");
        fs::create_dir_all(&below).unwrap();
        for (name, modinfo) in files {
            fs::write(below.join(name), format!("\u{7f}ELF\0code{}\0", modinfo.replace(' ', "\0"))).unwrap();
        }
        let to = tempfile::tempdir().unwrap();
        Tree::read(folder.path()).unwrap().write_wanted(to.path()).unwrap();
        let [dep, alias] =
            ["modules.dep", "modules.alias"].map(|name| fs::read_to_string(to.path().join(name)).unwrap());
        (dep, alias)
    }

    #[test]
    fn what_a_module_needs_is_loaded_before_it() {
        let (dep, _) = written(&[
            ("nvme-tcp.ko", "depends=nvme-core,nvme-fabrics,built-in"),
            ("nvme-fabrics.ko", "depends=nvme-core"),
            ("nvme-core.ko", "depends="),
            ("unwanted.ko", "depends=nvme-core"),
        ]);
        assert_eq!(
            dep,
            "nvme_core.ko: \nnvme_fabrics.ko: nvme_core.ko\nnvme_tcp.ko: nvme_fabrics.ko nvme_core.ko\n"
        );
    }

    #[test]
    fn the_kernel_finds_a_module_by_its_aliases() {
        let (_, alias) = written(&[("vxlan.ko", "alias=rtnl-link-vxlan license=GPL depends=")]);
        assert_eq!(alias, "alias rtnl-link-vxlan vxlan\n");
    }
}
