//! The probes from user space: loading, the running kernel's layout, their maps and their records.

pub mod btf;
pub mod function_probes;
pub mod layout;
pub mod ledger;
pub mod probes;
pub mod refusal;
pub mod socket_files;
pub mod wire;
