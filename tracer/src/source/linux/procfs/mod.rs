//! What /proc shows of processes. One that ends while it is read is normal and left out.

pub mod cgroup_path;
pub mod descriptors;
pub mod io_uring;
pub mod memory_maps;
pub mod processes;
