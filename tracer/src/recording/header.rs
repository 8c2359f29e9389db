//! What a recording begins with.

use crate::engine::Config;
use crate::event::Capture;
use serde::{Deserialize, Serialize};

/// What was captured, and how it was judged. What is added later needs a default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// The program that wrote it, and its version.
    pub tool: String,
    /// What the source could see.
    pub capture: Capture,
    /// How it was judged, and whose ports were reported.
    pub config: Config,
    /// The command that was run; empty when the machine was traced.
    pub command: Vec<String>,
    /// Size of the kernel's event buffer in bytes.
    pub buffer_bytes: u32,
    /// When the trace began, in nanoseconds on the source's clock.
    pub began_ns: u64,
}
