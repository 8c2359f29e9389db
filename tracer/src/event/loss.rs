//! Losses: where events got lost.

/// Where events got lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LossStage {
    /// In the kernel: the buffer was full.
    Kernel,
    /// Between the source and the engine.
    Queue,
    /// A record that could not be decoded.
    Decode,
    /// In the Windows trace session.
    Etw,
    /// In a damaged part of a recording: nothing is known of them but their number.
    Recording,
    /// In the source's own table of ports, which is full: those that found no room are followed no
    /// more, and their releases are not counted.
    Table,
    /// Between the engine and a sink: findings, whose reader is too slow. Events are not affected.
    Output,
}

impl LossStage {
    /// The name in the JSON contract.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Queue => "queue",
            Self::Decode => "decode",
            Self::Etw => "etw",
            Self::Recording => "recording",
            Self::Table => "table",
            Self::Output => "output",
        }
    }

    /// Whether what the source counts is right nevertheless.
    #[must_use]
    pub fn keeps_totals(self) -> bool {
        !matches!(self, Self::Etw | Self::Recording | Self::Table)
    }
}
