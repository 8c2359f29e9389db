//! Random operations by several processes: whenever they stand still, portleak's holds are what
//! the kernel says, ports and owners.
//!
//! `PORTLEAK_SEEDS` says how many seeds, `PORTLEAK_SEED` which is the first.

#![cfg(target_os = "linux")]
#![expect(clippy::expect_used, clippy::panic, reason = "a failing test says so by panicking")]

mod driver;
mod kernel;
mod model;

use driver::Driver;
use model::Model;
use portleak::source::{self, CaptureOptions, LiveSource, Source, Stacks};
use std::time::{Duration, Instant};

/// How many seeds when nobody says.
const SEEDS: u64 = 200;
/// A probe that interrupts itself is skipped, and that is told; it is rare, or something is wrong.
const LOSSES_PER: u64 = 1_000;
/// How long the two may differ: what servers answer takes its time, and UDP is looked up.
const SETTLE_MAX: Duration = Duration::from_secs(5);

#[test]
#[ignore = "needs root: cargo xtask test"]
#[expect(clippy::print_stdout, reason = "what was compared is told")]
fn holds_are_what_the_kernel_says() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let options = CaptureOptions { buffer_bytes: 1 << 26, stacks: Stacks::None };
    let mut source = runtime.block_on(async { source::open(&options) }).expect("the live source");
    let mut model = Model::default();
    let (first, seeds) = (setting("PORTLEAK_SEED", 1), setting("PORTLEAK_SEEDS", SEEDS));
    let mut compared = 0;
    for seed in first..first + seeds {
        compared += runtime.block_on(play(seed, &mut source, &mut model));
    }
    assert!(compared > 0, "nothing was ever held");
    assert!(model.losses <= 1 + seeds / LOSSES_PER, "losses were told {} times", model.losses);
    println!("{seeds} seeds from {first}: {compared} holds compared");
}

fn setting(name: &str, default: u64) -> u64 {
    let given = std::env::var(name).ok();
    given.map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// One seed; says how many holds were compared.
async fn play(seed: u64, source: &mut LiveSource, model: &mut Model) -> usize {
    let mut driver = Driver::start(seed);
    let mut compared = 0;
    while driver.stands_still() {
        compared += agree(seed, &driver, source, model).await;
        driver.proceed();
    }
    driver.end();
    compared
}

/// Waits until both say the same.
async fn agree(seed: u64, driver: &Driver, source: &mut LiveSource, model: &mut Model) -> usize {
    let patience_ends = Instant::now() + SETTLE_MAX;
    loop {
        let truth = driver.kernel();
        model.take(source);
        let differences = model.compare(&truth);
        if differences.is_empty() {
            return truth.holds();
        }
        assert!(
            Instant::now() < patience_ends,
            "PORTLEAK_SEED={seed}:\n{}\n\nafter\n{}\n",
            differences.join("\n"),
            driver.history()
        );
        source.ready().await;
    }
}
