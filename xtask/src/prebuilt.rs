//! The committed probes and the record of what they were built from and with.
//!
//! Another compiler gives other bytes for the same sources, so bytes are compared only when the
//! tools are the same; the sources are compared always.

use crate::digest;
use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

const HEAD: &str = "# What probes.bpf.o is; written by `cargo xtask build-probes`.";
const OBJECT: &str = "object sha256";
const SOURCES: &str = "sources sha256";

/// Where the committed object lies.
pub(crate) fn object_path(root: &Path) -> PathBuf {
    root.join("tracer-ebpf/prebuilt/probes.bpf.o")
}

fn record_path(root: &Path) -> PathBuf {
    root.join("tracer-ebpf/prebuilt/versions.txt")
}

/// What an object was built from and with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// Versions of everything that decides the bytes, by tool.
    pub(crate) tools: BTreeMap<String, String>,
    /// SHA-256 of the sources.
    pub(crate) sources: String,
    /// SHA-256 of the object.
    pub(crate) object: String,
}

/// How a fresh build compares with the committed one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    /// The same bytes.
    Equal,
    /// The same tools made other bytes.
    Unequal,
    /// Other tools, one line each: nothing can be said about the bytes.
    OtherTools(Vec<String>),
}

impl Record {
    /// Describes an object built just now.
    pub(crate) fn of(root: &Path, object: &[u8], tools: BTreeMap<String, String>) -> Result<Self> {
        Ok(Self {
            tools,
            sources: digest::of_probe_sources(root)?,
            object: digest::of_bytes(object),
        })
    }

    /// Compares the committed build with a fresh one.
    pub(crate) fn compare(&self, fresh: &Self) -> Comparison {
        let other = self.other_tools(&fresh.tools);
        if self.object == fresh.object {
            Comparison::Equal
        } else if other.is_empty() {
            Comparison::Unequal
        } else {
            Comparison::OtherTools(other)
        }
    }

    fn other_tools(&self, here: &BTreeMap<String, String>) -> Vec<String> {
        let names: BTreeSet<_> = self.tools.keys().chain(here.keys()).collect();
        let mut lines = Vec::new();
        for name in names {
            let [then, now] = [&self.tools, here].map(|tools| tools.get(name));
            if then != now {
                let [then, now] = [then, now].map(|version| version.map_or("none", String::as_str));
                lines.push(format!("{name}: {then} then, {now} here"));
            }
        }
        lines
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEAD}")?;
        for (tool, version) in &self.tools {
            writeln!(f, "{tool}: {version}")?;
        }
        writeln!(f, "{SOURCES}: {}", self.sources)?;
        writeln!(f, "{OBJECT}: {}", self.object)
    }
}

impl FromStr for Record {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let mut tools: BTreeMap<String, String> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let mut take = |name| {
            tools
                .remove(name)
                .with_context(|| format!("no line `{name}`"))
        };
        Ok(Self {
            sources: take(SOURCES)?,
            object: take(OBJECT)?,
            tools,
        })
    }
}

/// Writes an object and its record to where they are committed.
pub(crate) fn write(root: &Path, object: &[u8], record: &Record) -> Result<()> {
    let path = object_path(root);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(&path, object).with_context(|| format!("cannot write {}", path.display()))?;
    let path = record_path(root);
    fs::write(&path, record.to_string()).with_context(|| format!("cannot write {}", path.display()))
}

/// Reads the committed object and its record.
pub(crate) fn read(root: &Path) -> Result<(Vec<u8>, Record)> {
    let path = object_path(root);
    let object = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let path = record_path(root);
    let text = fs::read_to_string(&path);
    let record = text.context("cannot read it").and_then(|text| text.parse());
    Ok((object, record.with_context(|| path.display().to_string())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(rustc: &str, object: &str) -> Record {
        let tools = [("rustc", rustc), ("bpf-linker", "bpf-linker 0.13.0")];
        Record {
            tools: tools.map(|(k, v)| (k.into(), v.into())).into(),
            sources: "5a".into(),
            object: object.into(),
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let record = record("rustc 1.96.0 (built: by hand)", "0b");
        assert_eq!(record.to_string().parse::<Record>().unwrap(), record);
    }

    #[test]
    fn a_record_without_digests_is_refused() {
        let error = "rustc: rustc 1.96.0\n".parse::<Record>().unwrap_err();
        assert_eq!(error.to_string(), "no line `sources sha256`");
    }

    #[test]
    fn the_same_tools_must_give_the_same_bytes() {
        let committed = record("rustc 1.96.0", "0b");
        assert_eq!(committed.compare(&committed), Comparison::Equal);
        let fresh = record("rustc 1.96.0", "0c");
        assert_eq!(committed.compare(&fresh), Comparison::Unequal);
    }

    #[test]
    fn other_tools_are_named_and_excuse_other_bytes() {
        let fresh = record("rustc 1.97.0", "0c");
        let line = "rustc: rustc 1.96.0 then, rustc 1.97.0 here".to_owned();
        let comparison = record("rustc 1.96.0", "0b").compare(&fresh);
        assert_eq!(comparison, Comparison::OtherTools(vec![line]));
    }

    #[test]
    fn a_tool_on_one_side_only_is_a_difference() {
        let mut fresh = record("rustc 1.96.0", "0c");
        fresh.tools.remove("bpf-linker");
        let line = "bpf-linker: bpf-linker 0.13.0 then, none here".to_owned();
        let comparison = record("rustc 1.96.0", "0b").compare(&fresh);
        assert_eq!(comparison, Comparison::OtherTools(vec![line]));
    }
}
