//! Places that users name and that are on Linux only.

use crate::event::NetNs;
use crate::source::SourceError;

/// There are none.
///
/// # Errors
/// Always.
pub fn own_netns() -> Result<NetNs, SourceError> {
    Err(unknown("network namespaces", "--netns all"))
}

/// There are none.
///
/// # Errors
/// Always.
pub fn known_netns(_inode: u32) -> Result<NetNs, SourceError> {
    own_netns()
}

/// There are none.
///
/// # Errors
/// Always.
pub fn known_cgroup(_text: &str) -> Result<String, SourceError> {
    Err(unknown("cgroups", "--pid or --comm"))
}

fn unknown(what: &str, instead: &str) -> SourceError {
    SourceError { what: format!("{} has no {what}", std::env::consts::OS), remedy: format!("use {instead}") }
}
