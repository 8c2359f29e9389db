//! Linux: eBPF probes, merged with a snapshot of what was there before.

pub mod btf;
pub mod cgroup;
pub mod layout;
pub mod namespace;
pub mod netns;
pub mod platform;
pub mod processes;
pub mod sock_diag;
