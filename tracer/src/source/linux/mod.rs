//! Linux: eBPF probes, merged with a snapshot of what was there before.

pub mod bound_only;
pub mod btf;
pub mod cgroup;
pub mod clock;
pub mod layout;
pub mod ledger;
pub mod live;
pub mod memory;
pub mod namespace;
pub mod netns;
pub mod picture;
pub mod place;
pub mod places;
pub mod platform;
pub mod probes;
pub mod processes;
pub mod reconcile;
pub mod retired;
pub mod settings;
pub mod snapshot;
pub mod sock_diag;
pub mod system_udp;
pub mod unconfirmed;
pub mod wire;
