//! The program itself: it starts, and judges a file as it does anywhere.

use crate::harness::Scenario;
use std::fs;

#[test]
#[ignore = "needs cargo xtask windows"]
fn a_trace_file_is_judged_as_on_linux() {
    let scenario = Scenario::new(|machine| {
        machine.process(100, "leaky.exe");
        (0..600_u32).for_each(|n| _ = machine.at(f64::from(n) / 10.0).connected(100));
    });
    let file = format!("Z:{}", scenario.trace().display());
    let there = scenario.run("replay", &["replay", "--format", "json", &file]);
    let verdicts = there.said().verdicts(&100.into()).join(" ");
    assert!(verdicts.ends_with("leak"), "{verdicts}");
    scenario.replayed();
    let lines = |file| fs::read_to_string(file).expect("what was said");
    assert_eq!(lines(there.output), lines(scenario.replayed_output()));
}
