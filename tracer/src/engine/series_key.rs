//! Which series a hold counts in: the keys of series, their indices, and a hold's membership.

use super::owners::OwnerIx;
use crate::event::PoolId;
use std::net::SocketAddr;
use std::num::NonZeroU32;

/// What a series is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    pub(super) owner: OwnerIx,
    pub(super) pool: PoolId,
    pub(super) part: Part,
}

/// Which part of an owner's holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Part {
    /// Those to one destination, or to none.
    Destination(Option<SocketAddr>),
    /// All of them.
    Whole,
    /// All of them, and those of the program's other processes. The owner is the program.
    Program,
}

/// Index of a series. When the series is evicted its slot gets another generation, so that the index
/// does not refer to the series that comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SeriesIx {
    pub(super) slot: u32,
    pub(super) generation: NonZeroU32,
}

/// The series that a hold counts in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Membership {
    pub(super) destination: Option<SeriesIx>,
    pub(super) whole: Option<SeriesIx>,
    pub(super) program: Option<SeriesIx>,
}

impl Membership {
    pub(super) fn iter(self) -> impl Iterator<Item = SeriesIx> {
        [self.destination, self.whole, self.program].into_iter().flatten()
    }
}
