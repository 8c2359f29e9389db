//! Linux: eBPF probes, merged with a snapshot of what was there before.

pub mod btf;
pub mod layout;
pub mod netns;
pub mod processes;
pub mod sock_diag;
