//! What is done in the guest.

use super::programs::Programs;
use std::path::Path;
use std::time::Duration;

/// The name of the step that is no test of cargo's.
pub(super) const DOCTOR: &str = "doctor";
/// The steps that are, in their order.
pub(super) const TESTS: [&str; 4] = ["live", "kernel-sockets", "proof", "differential"];

/// Modules that no socket, device or mount asks the kernel for.
const MODULES: &str = "rds_tcp nvme_fabrics";

/// The live tests of a short run: those that ask of a kernel what no proof workload does. Every one
/// starts portleak, which is five to ten seconds of checking its probes where the kernel is emulated.
const SHORT: [&str; 7] = [
    "corrections::a_spoilt_ledger_is_mended",
    "exactness::older_sockets_of_every_kind_are_found",
    "moves::who_is_sent_them_has_them",
    "places::a_service_is_named_and_can_be_asked_for",
    "places::a_snapshot_lists_every_kind_of_hold_with_its_owner",
    "sites::a_leak_is_told_with_its_line_of_code",
    "tree::a_tree_in_a_pid_namespace_is_found",
];

/// How much is tested. Workloads and ports of the kernel's own are tried either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// All live tests, and more random operations.
    All,
    /// What `cargo xtask test` has the time for.
    Short,
}

impl Choice {
    /// Which live tests, as arguments.
    fn live(self) -> String {
        match self {
            Self::All => "--skip kernel_sockets::".to_owned(),
            Self::Short => format!("--exact {}", SHORT.join(" ")),
        }
    }

    /// How many seeds of random operations.
    fn seeds(self) -> u32 {
        match self {
            Self::All => 50,
            Self::Short => 10,
        }
    }

    /// How many seconds a step may take by the guest's own clock: several times what it does.
    fn step_max(self) -> u32 {
        match self {
            Self::All => 3600,
            Self::Short => 300,
        }
    }

    /// The time of a CPU that a guest may take: several times what it does.
    pub(super) fn cpu_max(self) -> Duration {
        Duration::from_secs(match self {
            Self::All => 2400,
            Self::Short => 480,
        })
    }

    /// What is left out, for a person; nothing if all runs.
    pub(crate) fn explained(self) -> String {
        match self {
            Self::All => String::new(),
            Self::Short => {
                format!("{} of the live tests; `cargo xtask test-vm` runs all of them\n", SHORT.len())
            }
        }
    }
}

/// The steps as a script for the guest's shell.
pub(crate) fn script(programs: &Programs, choice: Choice) -> String {
    let Programs { portleak, live, proof, differential, .. } = programs;
    let [portleak, live, proof, differential] =
        [portleak, live, proof, differential].map(|path| quoted(path));
    let [live_step, sockets, proof_step, differential_step] = TESTS;
    let all = "--include-ignored --test-threads=1 --show-output";
    let (chosen, seeds, step_max) = (choice.live(), choice.seeds(), choice.step_max());
    format!(
        "step_max={step_max}\n\
         step {DOCTOR} {portleak} doctor --format json\n\
         step {live_step} {live} {all} {chosen}\n\
         modprobe -a {MODULES}\n\
         step {sockets} {live} {all} kernel_sockets::\n\
         step {proof_step} {proof} {all}\n\
         export PORTLEAK_SEEDS={seeds}\n\
         step {differential_step} {differential} {all}\n"
    )
}

fn quoted(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_is_in_the_script() {
        let programs = Programs {
            portleak: "/p".into(),
            live: "/l".into(),
            proof: "/w".into(),
            differential: "/d".into(),
            files: Vec::new(),
        };
        let script = script(&programs, Choice::Short);
        assert!(script.contains(&format!(
            "step live '/l' --include-ignored --test-threads=1 --show-output --exact {} ",
            SHORT[0]
        )));
        assert!(TESTS.iter().all(|step| script.contains(&format!("\nstep {step} "))));
    }

    #[test]
    fn the_chosen_tests_are_there() {
        for test in SHORT {
            let (file, function) = test.split_once("::").unwrap();
            let path = format!("{}/../tests/live/{file}.rs", env!("CARGO_MANIFEST_DIR"));
            let source = std::fs::read_to_string(path).unwrap();
            assert!(source.contains(&format!("\nfn {function}() {{")), "{test}");
        }
    }

    #[test]
    fn a_path_survives_the_shell() {
        assert_eq!(quoted(Path::new("/it's")), r"'/it'\''s'");
    }
}
