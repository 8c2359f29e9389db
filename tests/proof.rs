//! Proof workloads: short lives of ports, each with the sequence of events that the kernel's rules
//! make of it. Every one runs in a network namespace of its own, several at a time, under one
//! live source.

#![cfg(target_os = "linux")]
#![expect(clippy::expect_used, reason = "a failing test says so by panicking")]

#[path = "proof/sequence.rs"]
mod sequence;
#[path = "proof/stage.rs"]
mod stage;
#[path = "proof/table.rs"]
mod table;
#[path = "proof/workload.rs"]
mod workload;

use stage::Verdict;

#[test]
#[ignore = "needs root: cargo xtask test"]
#[expect(clippy::print_stdout, reason = "a case that this kernel cannot run is told, not hidden")]
fn every_port_is_told_as_it_lived() {
    let judged = stage::perform(table::CASES);
    let (mut exact, mut inexact, mut skipped, mut wrong) = (0, 0, 0, Vec::new());
    for (case, verdict) in &judged {
        match verdict {
            Verdict::Exact => exact += 1,
            Verdict::Inexact(why) => {
                println!("INEXACT {}: {why}", case.name);
                inexact += 1;
            }
            Verdict::Impossible(why) => {
                println!("SKIPPED {}: {why}", case.name);
                skipped += 1;
            }
            Verdict::Wrong(how) => wrong.push(format!("{}: {how}", case.name)),
        }
    }
    println!("{exact} exact, {inexact} inexact as documented, {} wrong, {skipped} skipped", wrong.len());
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}
