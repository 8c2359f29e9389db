//! What portleak said of a program, against what it is.

use crate::runner::Said;
use crate::table::Expected;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The verdicts that accuse.
const ACCUSATIONS: [&str; 3] = ["suspected", "leak", "exhausted"];

/// What was said of one owner.
#[derive(Default)]
struct Told {
    /// All verdicts that it was given, in their order, with their kind.
    verdicts: Vec<String>,
    accused: bool,
    /// The verdict in the end.
    last: String,
    frames: BTreeSet<String>,
}

/// Checks one program against all lines of the trace.
pub(crate) fn check(lines: &[Value], said: &Said, expected: Expected) -> Result<String, String> {
    let told = told(lines, said.netns);
    let accused: Vec<_> = told.iter().filter(|(_, told)| told.accused).collect();
    let history = |told: &Told| told.verdicts.join(", ");
    match expected {
        Expected::Healthy => match accused.first() {
            None => Ok("left alone".to_owned()),
            Some((pid, told)) => Err(format!("it is healthy, but process {pid} was {}", history(told))),
        },
        Expected::Leak(site) => {
            if let Some((pid, told)) = accused.iter().find(|(pid, _)| !said.owners.contains(pid)) {
                return Err(format!("it is not process {pid} that leaks, which was {}", history(told)));
            }
            let own = told.iter().filter(|(pid, _)| said.owners.contains(pid)).map(|(_, told)| told);
            let Some(found) = own.clone().find(|told| ["suspected", "leak"].contains(&&*told.last)) else {
                let histories: Vec<_> = own.map(|told| format!("[{}]", history(told))).collect();
                return Err(format!("it leaks, and ended as clean or growing: {}", histories.join(" ")));
            };
            if !found.frames.iter().any(|frame| frame.contains(site)) {
                return Err(format!("no call site in {site:?}, but {:?}", found.frames));
            }
            Ok(history(found))
        }
    }
}

/// By pid, what was said of the owners in a network namespace.
fn told(lines: &[Value], netns: u64) -> BTreeMap<u64, Told> {
    let mut all: BTreeMap<u64, Told> = BTreeMap::new();
    let mut tell = |line: &Value, in_the_end: bool| {
        let (owner, verdict) = (&line["owner"], line["verdict"].as_str().unwrap_or("exhausted"));
        let Some(pid) = owner["pid"].as_u64().filter(|_| owner["netns"] == netns) else {
            return;
        };
        let told = all.entry(pid).or_default();
        let evidence = line["evidence"].as_array().map_or(&[][..], Vec::as_slice);
        told.accused |= ACCUSATIONS.contains(&verdict);
        if in_the_end {
            told.last = verdict.to_owned();
        } else {
            let kind = evidence.first().and_then(|first| first["kind"].as_str()).unwrap_or("-");
            told.verdicts.push(format!("{verdict} ({kind})"));
        }
        for frame in evidence.iter().filter_map(|one| one["call_site"]["frames"].as_array()).flatten() {
            told.frames.extend(frame.as_str().map(str::to_owned));
        }
    };
    for line in lines {
        match line["type"].as_str() {
            Some("finding" | "exhausted") => tell(line, false),
            Some("summary") => {
                let owners = line["owners"].as_array().map_or(&[][..], Vec::as_slice);
                owners.iter().for_each(|owner| tell(owner, true));
            }
            _ => {}
        }
    }
    all
}
