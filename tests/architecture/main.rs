//! Who may import whom: the direction of the code, as a test that reads the sources.
//!
//! `event` ← `engine` ← `sink`; `event` ← `symbols` ← `sink`; `event` ← `source`; what a recording
//! keeps ← `recording` ← `source`; all of these ← `pipeline` ← `daemon` ← `command` ← `main`. A file's
//! path decides which rules apply to it, so a new file is under them from its first line.

#![expect(clippy::expect_used, reason = "a test that panics has failed")]

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// A file longer than this hides something that wants a name of its own.
const LINES_MAX: usize = 600;

#[test]
fn the_sources_keep_to_the_architecture() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    let root = root.expect("the package lies in a workspace");
    let mut violations = Vec::new();
    let mut files = 0;
    for folder in ["tracer", "tracer-ebpf", "xtask", "tests"] {
        for file in rust_files(&root.join(folder)) {
            let text = fs::read_to_string(&file).expect("sources are readable");
            let name = file.strip_prefix(root).expect("it was found below the root");
            violations.extend(check(&name.to_string_lossy().replace('\\', "/"), &text));
            files += 1;
        }
    }
    assert!(files > 10, "only {files} sources found: the test looks in the wrong place");
    assert!(violations.is_empty(), "\n\n{}\n", violations.join("\n\n"));
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder is readable").flatten() {
        let path = entry.path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// All that is wrong with one file, each with place, fact and rule.
fn check(file: &str, text: &str) -> Vec<String> {
    let code = Code::read(file, text);
    let mut found = Vec::new();
    imports(file, &code, &mut found);
    capture_crate(file, &code, &mut found);
    platform(file, &code, &mut found);
    unsafe_code(file, &code, &mut found);
    if text.lines().count() > LINES_MAX {
        let rule = format!("A file has at most {LINES_MAX} lines: split it by noun.");
        found.push((LINES_MAX + 1, "the file goes on".to_owned(), rule));
    }
    let shown = |(line, what, rule)| format!("{file}:{line}: {what}\n    {rule}");
    found.into_iter().map(shown).collect()
}

/// Line, what is there, and the rule against it.
type Violation = (usize, String, String);

/// What a stage of the flow may import of the crate.
struct Stage {
    name: &'static str,
    imports: &'static [&'static str],
    why: &'static str,
}

/// The commands and `main` are above all stages, and may import everything.
const STAGES: [Stage; 8] = [
    Stage {
        name: "event",
        imports: &["event"],
        why: "it is the vocabulary that all others share, so it knows none of them",
    },
    Stage {
        name: "engine",
        imports: &["event", "engine"],
        why: "it judges events, whatever captured them and however they are shown",
    },
    Stage {
        name: "symbols",
        imports: &["event", "symbols"],
        why: "it names frames of call sites, whoever captured them",
    },
    Stage {
        name: "sink",
        imports: &["event", "engine", "symbols", "sink"],
        why: "it shows what the engine found, and never asks a source",
    },
    Stage {
        name: "source",
        imports: &["event", "recording", "source"],
        why: "it captures and decodes; meaning is the engine's, and `pipeline` joins the two",
    },
    Stage {
        name: "recording",
        imports: &["event", "engine", "symbols", "recording"],
        why: "it keeps what a source said and how it was judged, and knows neither source nor sink",
    },
    Stage {
        name: "pipeline",
        imports: &["event", "engine", "symbols", "sink", "source", "recording", "exit", "os", "pipeline"],
        why: "it joins a source, the engine and the sinks, whichever command wants that",
    },
    Stage {
        name: "daemon",
        imports: &[
            "event",
            "engine",
            "symbols",
            "sink",
            "source",
            "recording",
            "exit",
            "os",
            "pipeline",
            "daemon",
        ],
        why: "it runs the pipeline for months, and commands start it",
    },
];

fn imports(file: &str, code: &Code, found: &mut Vec<Violation>) {
    let Some(module) = module_path(file) else {
        return;
    };
    let first = module.first().copied().unwrap_or_default();
    let Some(stage) = STAGES.iter().find(|stage| stage.name == first) else {
        return;
    };
    for (line, name) in code.crate_imports(module.len()) {
        if !stage.imports.contains(&name.as_str()) {
            let rule =
                format!("`{}` may import {} only: {}.", stage.name, stage.imports.join(", "), stage.why);
            found.push((line, format!("uses crate::{name}"), rule));
        }
    }
}

/// `tracer/src/engine/mod.rs` is `["engine"]`, `tracer/src/engine/holds.rs` is `["engine", "holds"]`.
fn module_path(file: &str) -> Option<Vec<&str>> {
    let path = file.strip_prefix("tracer/src/")?.strip_suffix(".rs")?;
    let path = path.strip_suffix("/mod").unwrap_or(path);
    Some(path.split('/').collect())
}

fn capture_crate(file: &str, code: &Code, found: &mut Vec<Violation>) {
    if !file.starts_with("tracer/src/") || file.starts_with("tracer/src/source/linux/") {
        return;
    }
    for line in code.lines_of("portleak_ebpf") {
        let rule = "The probes' wire format is known to source/linux only: the rest gets events.";
        found.push((line, "uses portleak_ebpf".to_owned(), rule.to_owned()));
    }
}

fn platform(file: &str, code: &Code, found: &mut Vec<Violation>) {
    let chooses = file.starts_with("tracer/src/source/") && file.ends_with("/mod.rs");
    if !file.starts_with("tracer/src/") || chooses {
        return;
    }
    for line in code.lines_of("target_os") {
        let rule = "The platform is chosen in source/mod.rs and source/*/mod.rs and nowhere else, \
                    so that all the rest compiles and is tested everywhere.";
        found.push((line, "asks for target_os".to_owned(), rule.to_owned()));
    }
}

fn unsafe_code(file: &str, code: &Code, found: &mut Vec<Violation>) {
    // Tests and their load generator are not shipped.
    let allowed = ["tracer-ebpf/src/", "tracer/src/source/", "tests/"];
    if allowed.iter().any(|folder| file.starts_with(folder)) {
        return;
    }
    for line in code.lines_of("unsafe") {
        let rule = "Only the probes and the sources talk to the kernel in unsafe code.";
        found.push((line, "unsafe".to_owned(), rule.to_owned()));
    }
}

/// The tokens of a file in order, without comments, and each literal as one token.
struct Code {
    tokens: Vec<Token>,
}

struct Token {
    line: usize,
    /// How many `mod name { … }` it is in.
    modules: usize,
    text: String,
}

impl Code {
    fn read(file: &str, text: &str) -> Self {
        let stream =
            TokenStream::from_str(text).unwrap_or_else(|error| unreachable!("{file} compiles, yet: {error}"));
        let mut code = Self { tokens: Vec::new() };
        code.flatten(stream, 0);
        code
    }

    fn flatten(&mut self, stream: TokenStream, modules: usize) {
        for tree in stream {
            let start = tree.span().start().line;
            let TokenTree::Group(group) = tree else {
                self.push(start, modules, &tree.to_string());
                continue;
            };
            let (open, close) = match group.delimiter() {
                Delimiter::Brace => ("{", "}"),
                Delimiter::Parenthesis => ("(", ")"),
                Delimiter::Bracket => ("[", "]"),
                Delimiter::None => ("", ""),
            };
            let inner = usize::from(open == "{" && self.at_module());
            self.push(start, modules, open);
            let end = group.span_close().start().line;
            self.flatten(group.stream(), modules + inner);
            self.push(end, modules, close);
        }
    }

    fn push(&mut self, line: usize, modules: usize, text: &str) {
        let text = text.to_owned();
        self.tokens.push(Token { line, modules, text });
    }

    /// Whether the last two tokens are `mod name`.
    fn at_module(&self) -> bool {
        self.tokens.iter().rev().nth(1).is_some_and(|token| token.text == "mod")
    }

    fn lines_of(&self, word: &str) -> impl Iterator<Item = usize> {
        let is_word = move |token: &&Token| token.text == word;
        self.tokens.iter().filter(is_word).map(|token| token.line)
    }

    /// The crate's own modules that this file names, with `super::` followed up to the crate. `depth`
    /// is how deep in the crate the file's module lies.
    fn crate_imports(&self, depth: usize) -> Vec<(usize, String)> {
        let mut names = Vec::new();
        for at in 0..self.tokens.len() {
            let after = match self.text(at) {
                "crate" => self.after_colons(at + 1),
                "super" => self.after_supers(at, depth),
                _ => None,
            };
            if let Some(after) = after {
                self.first_names(after, &mut names);
            }
        }
        names
    }

    fn text(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", |token| &token.text)
    }

    fn after_colons(&self, at: usize) -> Option<usize> {
        (self.text(at) == ":" && self.text(at + 1) == ":").then_some(at + 2)
    }

    /// After as many `super::` as lead out to the crate itself; `None` when they stay in the stage.
    fn after_supers(&self, at: usize, depth: usize) -> Option<usize> {
        let starts_path = at < 2 || self.after_colons(at - 2).is_none();
        let mut left = depth + self.tokens.get(at)?.modules;
        let mut at = at;
        while starts_path && self.text(at) == "super" && left > 0 {
            at = self.after_colons(at + 1)?;
            left -= 1;
        }
        (starts_path && left == 0).then_some(at)
    }

    /// `event` of `event::Event`; `event` and `run` of `{event::{Event, Clock}, run}`.
    fn first_names(&self, at: usize, names: &mut Vec<(usize, String)>) {
        let Some(first) = self.tokens.get(at) else {
            return;
        };
        if first.text != "{" {
            names.push((first.line, first.text.clone()));
            return;
        }
        let mut depth = 0_usize;
        for at in at..self.tokens.len() {
            match self.text(at) {
                "{" => depth += 1,
                "}" if depth == 1 => return,
                "}" => depth -= 1,
                _ => {}
            }
            let starts_item = depth == 1 && matches!(self.text(at), "{" | ",");
            if starts_item && self.text(at + 1) != "}" {
                self.first_names(at + 1, names);
            }
        }
    }
}

/// The checker does catch what it is there for.
mod checker {
    use super::*;

    /// The lines that are reported, and that each report names the file and teaches a rule.
    fn lines(file: &str, text: &str) -> Vec<usize> {
        let line = |report: String| {
            let (place, rule) = report.split_once("\n    ").expect("a place and a rule");
            assert!(rule.ends_with('.'), "{rule}");
            let rest = place.strip_prefix(file).expect("the file's name first");
            let line = rest.trim_start_matches(':').split(':').next();
            line.and_then(|line| line.parse().ok()).expect("a line number")
        };
        check(file, text).into_iter().map(line).collect()
    }

    const NONE: [usize; 0] = [];

    #[test]
    fn a_stage_imports_what_lies_before_it() {
        let engine = "use crate::event::Event;\nuse crate::engine::Finding;";
        assert_eq!(lines("tracer/src/engine/holds.rs", engine), NONE);
        assert_eq!(lines("tracer/src/sink/text.rs", engine), NONE);
        assert_eq!(lines("tracer/src/source/file.rs", engine), [2]);
        assert_eq!(lines("tracer/src/event.rs", engine), [2]);
        assert_eq!(lines("tracer/src/pipeline/mod.rs", engine), NONE);
    }

    #[test]
    fn no_stage_imports_a_command() {
        let code = "use crate::pipeline::Pipeline;\nuse crate::command::Run;";
        assert_eq!(lines("tracer/src/daemon/mod.rs", code), [2]);
        assert_eq!(lines("tracer/src/pipeline/queue.rs", code), [2]);
        assert_eq!(lines("tracer/src/command/run.rs", code), NONE);
    }

    #[test]
    fn only_what_is_shown_is_named() {
        let names = "use crate::event::Frame;\nuse crate::symbols::Name;";
        assert_eq!(lines("tracer/src/symbols/mod.rs", names), NONE);
        assert_eq!(lines("tracer/src/sink/evidence_text.rs", names), NONE);
        assert_eq!(lines("tracer/src/engine/sites.rs", names), [2]);
        assert_eq!(lines("tracer/src/source/linux/sites.rs", names), [2]);
    }

    #[test]
    fn paths_in_code_count_as_imports() {
        let code = "fn f() {\n    crate::sink::print();\n}";
        assert_eq!(lines("tracer/src/engine/mod.rs", code), [2]);
    }

    #[test]
    fn imports_are_seen_in_groups() {
        let code = "use crate::{\n    event::{Event, source},\n    source::Source,\n};";
        assert_eq!(lines("tracer/src/engine/mod.rs", code), [3]);
    }

    #[test]
    fn super_is_followed_up_to_the_crate() {
        let out = "use super::source::Source;";
        assert_eq!(lines("tracer/src/engine/mod.rs", out), [1]);
        assert_eq!(lines("tracer/src/engine/holds.rs", out), NONE);
        let out = "use super::super::source::Source;";
        assert_eq!(lines("tracer/src/engine/holds.rs", out), [1]);
        let tests = "mod tests {\n    use super::*;\n    use super::super::sink::Text;\n}";
        assert_eq!(lines("tracer/src/engine/mod.rs", tests), [3]);
    }

    #[test]
    fn all_of_the_crate_is_too_much() {
        assert_eq!(lines("tracer/src/engine/mod.rs", "use crate::*;"), [1]);
    }

    #[test]
    fn comments_and_texts_are_no_code() {
        let code = "//! See crate::sink.\n/* unsafe */ const A: &str = \"unsafe crate::sink\";";
        assert_eq!(lines("tracer/src/engine/mod.rs", code), NONE);
    }

    #[test]
    fn the_wire_format_stays_in_source_linux() {
        let code = "use portleak_ebpf::Record;";
        assert_eq!(lines("tracer/src/source/linux/decode.rs", code), NONE);
        assert_eq!(lines("tracer/src/source/mod.rs", code), [1]);
        assert_eq!(lines("tracer/src/pipeline/mod.rs", code), [1]);
    }

    #[test]
    fn the_platform_is_chosen_in_one_place() {
        let code = "\n#[cfg(target_os = \"linux\")]\nmod linux;";
        assert_eq!(lines("tracer/src/source/mod.rs", code), NONE);
        assert_eq!(lines("tracer/src/source/windows/mod.rs", code), NONE);
        assert_eq!(lines("tracer/src/source/linux/probe.rs", code), [2]);
        assert_eq!(lines("tracer/src/main.rs", code), [2]);
    }

    #[test]
    fn unsafe_code_stays_with_the_kernel() {
        let code = "fn f() {\n    unsafe { g() }\n}";
        assert_eq!(lines("tracer-ebpf/src/main.rs", code), NONE);
        assert_eq!(lines("tracer/src/source/linux/ring.rs", code), NONE);
        assert_eq!(lines("tracer/src/engine/holds.rs", code), [2]);
        assert_eq!(lines("xtask/src/bench.rs", code), [2]);
    }

    #[test]
    fn long_files_are_seen() {
        assert_eq!(lines("tests/x.rs", &"\n".repeat(LINES_MAX)), NONE);
        assert_eq!(lines("tests/x.rs", &"\n".repeat(LINES_MAX + 1)), [LINES_MAX + 1]);
    }
}
