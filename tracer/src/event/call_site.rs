//! Call sites: the stacks that acquire ports.

use std::num::NonZeroU64;
use std::sync::Arc;

/// Identifies a call site: one stack of one process (or of the kernel) that acquires ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SiteId(pub NonZeroU64);

/// One frame of a call site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A place in a file, which is given its name when it is shown: the process may be gone by then.
    File {
        /// The executable or library, as this machine reaches it.
        path: Arc<str>,
        /// Offset in the file.
        offset: u64,
    },
    /// What the source could name itself: the kernel's functions, code compiled while running.
    Named {
        /// The function.
        name: Arc<str>,
        /// Where it is, if that says more: a kernel module.
        module: Option<Arc<str>>,
    },
    /// An address of which nothing is known.
    Address(u64),
}
