//! Linux: eBPF probes, merged with a snapshot of what was there before.

pub mod advice;
pub mod bpf;
pub mod filter_targets;
pub mod kernel;
pub mod live;
pub mod machine;
pub mod memory;
pub mod one_shot;
pub mod probe_source;
pub mod procfs;
pub mod snapshot;
pub mod system;
pub mod track;

#[cfg(test)]
mod tests;
