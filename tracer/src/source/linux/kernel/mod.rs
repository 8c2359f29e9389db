//! What the kernel answers without probes: socket lists, namespaces, symbols, the cgroup root.

pub mod bind_test;
pub mod bound_sockets;
pub mod cgroup_root;
pub mod clock;
pub mod features;
pub mod idle_connections;
pub mod kallsyms;
pub mod mounts;
pub mod namespace;
pub mod netns;
pub mod platform;
pub mod sock_diag;
