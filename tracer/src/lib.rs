//! portleak: a real-time leak tracer for ephemeral ports.

pub mod engine;
pub mod event;
pub mod source;
