//! portleak: a real-time leak tracer for ephemeral ports.

pub mod cli;
pub mod engine;
pub mod event;
pub mod exit;
pub mod output;
pub mod run;
pub mod source;
