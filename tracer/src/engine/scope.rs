//! Whose ports are reported. What is out of scope still counts in the pools.

use crate::event::Protocol;

/// A filter on owners; an empty one takes everybody. System and unowned are always in scope.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Only these pids.
    pub pids: Vec<u32>,
    /// Only processes of this name.
    pub comm: Option<String>,
    /// Only this protocol.
    pub protocol: Option<Protocol>,
    /// Only this process and its descendants (`portleak run`).
    pub descendants_of: Option<u32>,
}
