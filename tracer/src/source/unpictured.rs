//! What there is not yet beside live tracing.

use super::{Picture, SourceError};
use crate::event::Advice;

/// Refuses: there is none.
///
/// # Errors
/// Always.
pub(super) fn take() -> Result<Picture, SourceError> {
    Err(SourceError {
        what: format!("a snapshot works on Linux; this is {}", std::env::consts::OS),
        remedy: "trace instead: portleak trace --duration 10s".to_owned(),
    })
}

/// There is none.
#[must_use]
pub fn advice() -> Vec<Advice> {
    Vec::new()
}
