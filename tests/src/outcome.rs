//! How exactly workloads of a table were told, one line each; `cargo xtask test-vm` reads the lines
//! and compares kernels (xtask/src/vm/workloads.rs).

/// What became of one workload.
pub enum Outcome {
    /// Told as the kernel did it.
    Exact,
    /// Told otherwise, and portleak says so itself.
    Inexact(String),
    /// This kernel cannot run it, and why.
    Impossible(String),
    /// Told otherwise.
    Wrong(String),
}

/// Says what became of each; one that was told wrong is a failure.
#[expect(clippy::print_stdout, reason = "what this kernel cannot do is told, not hidden")]
pub fn tell(outcomes: &[(&str, Outcome)]) {
    let mut wrong = Vec::new();
    for (name, outcome) in outcomes {
        match outcome {
            Outcome::Exact => println!("EXACT {name}"),
            Outcome::Inexact(why) => println!("INEXACT {name}: {why}"),
            Outcome::Impossible(why) => println!("IMPOSSIBLE {name}: {why}"),
            Outcome::Wrong(how) => {
                println!("WRONG {name}: {how}");
                wrong.push(format!("{name}: {how}"));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}
