//! Trackers: each follows one concern that the probes' records alone do not decide.

pub mod call_sites;
pub mod descendants;
pub mod exited_owners;
pub mod failed_binds;
pub mod idle_times;
pub mod kernel_udp;
pub mod pending_ports;
pub mod port_ranges;
pub mod reconcile;
pub mod udp_send_hook;
