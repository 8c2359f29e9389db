//! Call sites: the stacks that acquire ports.

use std::num::NonZeroU64;
use std::sync::Arc;

/// Identifies a call site: one stack of one process (or of the kernel) that acquires ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SiteId(pub NonZeroU64);

/// One frame of a call site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A place in a file. It is named when it is shown, so the process need not exist any more.
    File {
        /// The executable or library, as this machine reaches it.
        path: Arc<str>,
        /// Offset in the file.
        offset: u64,
    },
    /// A function that the source named: the kernel's, or code compiled at run time.
    Named {
        /// The function.
        name: Arc<str>,
        /// The kernel module, if it is in one.
        module: Option<Arc<str>>,
    },
    /// An address that belongs to no known file.
    Address(u64),
}
