//! Names of owners for people.

use crate::engine::report::Owner;
use crate::event::OwnerId;

/// Short, for tables and lists: `python3[4711]`, `nginx[815] (nginx.service)`,
/// `curl[*]` for all processes of a program, `System/wireguard`, `(unowned)`.
#[must_use]
pub fn label(owner: &Owner) -> String {
    match &owner.id {
        OwnerId::Process(id) => match comm(owner) {
            Some(comm) => format!("{comm}[{}]{}", id.pid, place(owner, " (", ")")),
            None => format!("pid {}", id.pid),
        },
        OwnerId::System { module, .. } => match module {
            Some(module) => format!("System/{}", printable(module)),
            None => "System".to_owned(),
        },
        OwnerId::Program(id) => format!("{}[*]{}", program(owner, &id.exe), place(owner, " (", ")")),
        OwnerId::Others(_) => full(owner),
        OwnerId::Unowned => "(unowned)".to_owned(),
    }
}

/// For sentences: `python3 (pid 4711)`, `System (wireguard)`, `an unknown owner`.
#[must_use]
pub fn full(owner: &Owner) -> String {
    match &owner.id {
        OwnerId::Process(id) => match comm(owner) {
            Some(comm) => format!("{comm} (pid {}{})", id.pid, place(owner, ", ", "")),
            None => format!("a process of unknown name (pid {})", id.pid),
        },
        OwnerId::System { module, netns } => match module {
            Some(module) => format!("System ({})", printable(module)),
            // Windows, which has drivers, has no namespaces.
            None if netns.0 == 0 => "System (driver unknown)".to_owned(),
            None => "System (module unknown)".to_owned(),
        },
        OwnerId::Program(id) => {
            format!("{} (many processes{})", program(owner, &id.exe), place(owner, ", ", ""))
        }
        OwnerId::Others(Some(id)) => {
            format!("other processes of {}{}", program(owner, &id.exe), place(owner, " (", ")"))
        }
        OwnerId::Others(None) => "other processes".to_owned(),
        OwnerId::Unowned => "an unknown owner (orphaned sockets)".to_owned(),
    }
}

/// The name of a program's processes.
fn program(owner: &Owner, exe: &str) -> String {
    comm(owner).unwrap_or_else(|| printable(exe))
}

fn comm(owner: &Owner) -> Option<String> {
    let comm = &owner.facts.as_ref()?.comm;
    (!comm.is_empty()).then(|| printable(comm))
}

/// The container or the service that a process runs in, between two marks; empty when in none.
fn place(owner: &Owner, before: &str, after: &str) -> String {
    let facts = owner.facts.as_ref();
    let container =
        facts.and_then(|facts| facts.container.as_deref()).map(|name| format!("container {name}"));
    let service = facts.and_then(|facts| facts.service.as_deref()).map(str::to_owned);
    let place = container.or(service);
    place.map_or_else(String::new, |place| format!("{before}{}{after}", printable(&place)))
}

/// Without control characters: a process may call itself anything, terminal escapes included.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// At most `width` characters, the cut shown as `…`.
#[must_use]
pub fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    kept + "…"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{NetNs, ProcessFacts, ProgramId};
    use crate::sink::fixtures;

    #[test]
    fn everyone_has_a_name() {
        let python = fixtures::python();
        assert_eq!(label(&python), "python3[4711]");
        assert_eq!(full(&python), "python3 (pid 4711)");
        let unknown = Owner { facts: None, ..python };
        assert_eq!(label(&unknown), "pid 4711");
        let system = |module: Option<&str>| Owner {
            id: OwnerId::System { module: module.map(Into::into), netns: NetNs(1) },
            facts: None,
        };
        assert_eq!(label(&system(Some("wireguard"))), "System/wireguard");
        assert_eq!(full(&system(Some("nfs"))), "System (nfs)");
        assert_eq!(label(&system(None)), "System");
        assert_eq!(full(&system(None)), "System (module unknown)");
        let windows = Owner { id: OwnerId::System { module: None, netns: NetNs(0) }, facts: None };
        assert_eq!(full(&windows), "System (driver unknown)");
        let id = ProgramId { exe: "/usr/bin/curl".into(), service: None };
        let program = Owner { id: OwnerId::Program(id), facts: None };
        assert_eq!(label(&program), "/usr/bin/curl[*]");
        assert_eq!(full(&program), "/usr/bin/curl (many processes)");
        let id = ProgramId { exe: "/usr/bin/curl".into(), service: None };
        let others = |id| label(&Owner { id: OwnerId::Others(id), facts: None });
        assert_eq!(others(Some(id)), "other processes of /usr/bin/curl");
        assert_eq!(others(None), "other processes");
    }

    #[test]
    fn a_container_goes_before_the_service_inside_it() {
        let mut nginx = fixtures::process(815, "nginx");
        let facts = nginx.facts.as_mut().unwrap();
        facts.service = Some("nginx.service".into());
        assert_eq!(label(&nginx), "nginx[815] (nginx.service)");
        assert_eq!(full(&nginx), "nginx (pid 815, nginx.service)");
        nginx.facts.as_mut().unwrap().container = Some("1a2b3c4d5e6f".into());
        assert_eq!(label(&nginx), "nginx[815] (container 1a2b3c4d5e6f)");
        assert_eq!(full(&nginx), "nginx (pid 815, container 1a2b3c4d5e6f)");
    }

    #[test]
    fn a_name_cannot_steer_the_terminal() {
        let facts = ProcessFacts { comm: "\u{1b}[2Jx".into(), ..ProcessFacts::default() };
        let owner = Owner { facts: Some(facts), ..fixtures::python() };
        assert_eq!(label(&owner), "\u{fffd}[2Jx[4711]");
    }

    #[test]
    fn cutting_counts_characters() {
        assert_eq!(cut("äöü", 3), "äöü");
        assert_eq!(cut("äöüß", 3), "äö…");
    }
}
