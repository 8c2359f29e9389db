//! Linux: eBPF probes, merged with a snapshot of what was there before.

pub mod btf;
pub mod cgroup;
pub mod clock;
pub mod kernel_symbols;
pub mod layout;
pub mod ledger;
pub mod live;
pub mod maps;
pub mod memory;
pub mod namespace;
pub mod netns;
pub mod platform;
pub mod probes;
pub mod processes;
pub mod retired;
pub mod sites;
pub mod snapshot;
pub mod sock_diag;
pub mod system_udp;
pub mod unconfirmed;
pub mod wire;
