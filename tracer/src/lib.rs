#![doc = include_str!("../docs/how-it-works.md")]

pub mod cli;
pub mod command;
pub mod engine;
pub mod event;
pub mod exit;
pub mod explain;
pub mod os;
pub mod pipeline;
pub mod recording;
pub mod sink;
pub mod source;
pub mod symbols;

/// The manual's pages that belong to no module.
#[cfg(doc)]
pub mod manual {
    #[doc = include_str!("../docs/limits.md")]
    pub mod limits {}
    #[doc = include_str!("../docs/verdicts.md")]
    pub mod verdicts {}
    #[doc = include_str!("../docs/thresholds.md")]
    pub mod thresholds {}
}
