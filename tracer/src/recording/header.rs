//! The header of a recording.

use crate::engine::Config;
use crate::event::Capture;
use serde::{Deserialize, Serialize};

/// The capture and its configuration. A field that is added later needs a default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// The program that wrote it, and its version.
    pub tool: String,
    /// What the source could capture.
    pub capture: Capture,
    /// Detection profile, thresholds and scope.
    pub config: Config,
    /// The command that was run; empty when the machine was traced.
    pub command: Vec<String>,
    /// Size of the kernel's event buffer in bytes.
    pub buffer_bytes: u32,
    /// When the trace began, in nanoseconds on the source's clock.
    pub began_ns: u64,
}
