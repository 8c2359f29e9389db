//! Small programs as people write them, some of which leak. Which does, and what portleak must say of
//! it, is in `tests/programs/table.rs`.
//!
//! ```text
//! programs NAME SECONDS [PROGRAM ARGUMENT…]
//! ```
//!
//! Each runs in a network namespace of its own, with a server of its own on a port that is not
//! ephemeral. First it says which namespace that is, and which process is answerable for what leaks.
//! `other` becomes another program there.

#![cfg_attr(target_os = "linux", expect(clippy::print_stdout, reason = "a program, not the library"))]

#[cfg(target_os = "linux")]
mod clients;
#[cfg(target_os = "linux")]
mod healthy;
#[cfg(target_os = "linux")]
mod leaks;
#[cfg(target_os = "linux")]
mod pace;
#[cfg(target_os = "linux")]
mod server;

#[cfg(target_os = "linux")]
fn main() -> anyhow::Result<()> {
    use anyhow::{Context, bail};
    use pace::Pace;
    use portleak_tests::{limits, netns};
    use std::os::unix::fs::MetadataExt;
    use std::os::unix::process::CommandExt;
    use std::process::Command;
    use std::time::Duration;

    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().context("programs NAME SECONDS")?;
    let seconds: u64 = arguments.next().context("programs NAME SECONDS")?.parse()?;
    // A helper of one of the programs: it lives where that one lives.
    if name == "worker" {
        return healthy::worker(seconds);
    }
    limits::end_after(Duration::from_secs(seconds + 30));
    limits::allow_many_files()?;
    netns::enter_new(None)?;
    println!("netns {}", std::fs::metadata("/proc/self/ns/net")?.ino());
    println!("owner {}", std::process::id());
    let pace = Pace::new(seconds);
    match name.as_str() {
        "fetch-and-forget" => leaks::fetch_and_forget(&pace),
        "error-path" => leaks::error_path(&pace),
        "close-wait" => leaks::close_wait(&pace),
        "retry" => leaks::retry(&pace),
        "bound-udp" => leaks::bound_udp(&pace),
        "job-per-child" => leaks::job_per_child(&pace),
        "thread-pool" => leaks::thread_pool(&pace),
        "slow" => leaks::slow(&pace),
        "many-servers" => leaks::many_servers(&pace),
        "ureq-response-kept" => clients::ureq_response_kept(&pace),
        "ureq-agent-each" => clients::ureq_agent_each(&pace),
        "ureq" => clients::ureq_right(&pace),
        "r2d2-forgotten" => clients::r2d2_forgotten(&pace),
        "r2d2" => clients::r2d2_right(&pace),
        "r2d2-too-large" => clients::r2d2_too_large(&pace),
        "warm-up" => healthy::warm_up(&pace),
        "burst" => healthy::burst(&pace),
        "churn" => healthy::churn(&pace),
        "keepalive" => healthy::keepalive(&pace),
        "websocket" => healthy::websocket(&pace),
        "dns" => healthy::dns(&pace),
        "workers" => healthy::workers(&pace),
        "refused" => healthy::refused(&pace),
        "slow-close" => healthy::slow_close(&pace),
        "other" => {
            let program = arguments.next().context("programs other SECONDS PROGRAM …")?;
            Err(Command::new(program).args(arguments).exec().into())
        }
        _ => bail!("there is no program {name}"),
    }
}

#[cfg(not(target_os = "linux"))]
fn main() -> anyhow::Result<()> {
    anyhow::bail!("the programs are written for Linux")
}
