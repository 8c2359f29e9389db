//! Losses: the stages at which events can be lost.

/// Where events were lost.
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
    /// In a damaged part of a recording; only their number is known.
    Recording,
    /// In the source's table of ports, which was full. Ports without a place in it are not followed,
    /// and their releases are not counted.
    Table,
    /// Between the engine and a sink with a slow reader: findings, not events.
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

    /// Whether the source's totals are exact nevertheless.
    #[must_use]
    pub fn keeps_totals(self) -> bool {
        !matches!(self, Self::Etw | Self::Recording | Self::Table)
    }
}
