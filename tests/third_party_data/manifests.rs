//! The layouts against Microsoft's manifests of five releases of Windows, from 7 to 11 26H1.

use crate::data::{self, Outcome};
use portleak::source::windows::guid::{self, Guid};
use portleak::source::windows::layout::{Field, Kind, Layout, layouts};
use std::collections::BTreeMap;

/// Fields in order: name and type, as the manifest has them.
type Fields = Vec<(String, String)>;
/// By event and version.
type Manifest = BTreeMap<(u16, u8), Fields>;

/// The manifest of a provider as XML: its templates, and which event has which.
fn xml(text: &str) -> Manifest {
    let attribute = |line: &str, name: &str| {
        let (_, rest) = line.split_once(&format!("{name}=\""))?;
        rest.split('"').next().map(str::to_owned)
    };
    let mut templates: BTreeMap<String, Fields> = BTreeMap::new();
    let mut template = String::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with("<template ") {
            template = attribute(line, "tid").expect("a template has a name");
            templates.insert(template.clone(), Fields::new());
        } else if line.starts_with("<data ") {
            let name = attribute(line, "name").expect("a field has a name");
            let kind = attribute(line, "inType").expect("a field has a type");
            let fields = templates.get_mut(&template).expect("a field is in a template");
            fields.push((name, kind.trim_start_matches("win:").to_owned()));
        }
    }
    let events = text.lines().map(str::trim).filter(|line| line.starts_with("<event "));
    let event = |line| {
        let key = (attribute(line, "value")?.parse().ok()?, attribute(line, "version")?.parse().ok()?);
        Some((
            key,
            attribute(line, "template").and_then(|name| templates.get(&name).cloned()).unwrap_or_default(),
        ))
    };
    events.filter_map(event).collect()
}

/// The manifest of a provider as a table: provider, event, version, `name(type field, …)`.
fn table(text: &str) -> Manifest {
    let row = |line: &str| {
        let cells: Vec<_> = line.split('\t').collect();
        let key = (cells.get(1)?.parse().ok()?, cells.get(2)?.parse().ok()?);
        let (_, fields) = cells.get(3)?.split_once('(')?;
        let field =
            |text: &str| text.trim().split_once(' ').map(|(kind, name)| (name.to_owned(), kind.to_owned()));
        Some((key, fields.trim_end_matches(')').split(',').filter_map(field).collect()))
    };
    text.lines().filter_map(row).collect()
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::U16 => "UInt16",
        Kind::U32 => "UInt32",
        Kind::U64 => "UInt64",
        Kind::Time => "FILETIME",
        Kind::Pointer => "Pointer",
        Kind::Address => "Binary",
        Kind::Sid => "SID",
        Kind::Text => "UnicodeString",
    }
}

fn is(field: Field, (name, kind): &(String, String)) -> bool {
    field.names().contains(&name.as_str()) && kind_name(field.kind()) == kind
}

/// Compares the layouts that a manifest has; says which events of ours it has.
fn compare(file: &str, provider: Guid, manifest: &Manifest) -> Vec<Layout> {
    let known = layouts(provider);
    let ours: Vec<_> = known.iter().filter(|l| manifest.contains_key(&(l.id, l.version))).copied().collect();
    for layout in &ours {
        let fields = &manifest[&(layout.id, layout.version)];
        let same = fields.len() >= layout.fields.len()
            && layout.fields.iter().zip(fields).all(|(&ours, theirs)| is(ours, theirs));
        assert!(same, "{file}: {layout:?} is\n{fields:?}");
    }
    for &(id, version) in manifest.keys().filter(|(id, _)| known.iter().any(|layout| layout.id == *id)) {
        let is_known = known.iter().any(|layout| (layout.id, layout.version) == (id, version));
        assert!(is_known, "{file}: event {id} has a version {version}");
    }
    ours
}

pub(crate) fn layouts_are_those_of_the_manifests() -> Outcome {
    data::with("etw-manifests", |folder| {
        for (provider, name) in [(guid::TCPIP, "TCPIP"), (guid::AFD, "Winsock-AFD")] {
            let releases = ["Win7-7600", "Win10-10240", "Win10-17134", "Win10-18990"];
            let xml_of = |release| folder.join(format!("Manifests-{release}-{name}.xml.gz"));
            let mut seen = Vec::new();
            for release in releases {
                seen.extend(compare(release, provider, &xml(&data::text(&xml_of(release)))));
            }
            let newest = if provider == guid::AFD { "afd-26h1.tsv" } else { "tcpip-26h1.tsv" };
            seen.extend(compare(newest, provider, &table(&data::text(&folder.join(newest)))));
            all_seen(provider, &seen);
        }
    })
}

pub(crate) fn layouts_of_processes_are_those_of_the_manifest() -> Outcome {
    data::with("etw-manifests/kernel-process-26h1.tsv", |path| {
        let seen = compare("26h1", guid::KERNEL_PROCESS, &table(&data::text(path)));
        all_seen(guid::KERNEL_PROCESS, &seen);
    })
}

fn all_seen(provider: Guid, seen: &[Layout]) {
    for layout in layouts(provider) {
        assert!(seen.contains(layout), "no manifest has {layout:?}");
    }
}
