//! What the live tests and the benchmarks trace: a program that opens and closes ports in every
//! way that matters, and says exactly what it did, one JSON object for each process.
//!
//! ```text
//! workload [--own-netns [--range LOW-HIGH]] COMMAND
//! ```
//!
//! Where ports stay open to be looked at, it says so and then waits for a line or the end of its
//! standard input (120 s at most). Servers of the multi-process commands are processes of their
//! own on ports below the ephemeral range, so that a client's figures are the client's alone.

#[cfg(target_os = "linux")]
mod linux;

#[cfg(target_os = "linux")]
fn main() -> anyhow::Result<()> {
    linux::main()
}

#[cfg(not(target_os = "linux"))]
fn main() -> anyhow::Result<()> {
    anyhow::bail!("the workload is written for Linux")
}
