//! The hold table.

use super::detector::Second;
use super::owners::OwnerIx;
use super::series_key::Membership;
use crate::event::{HoldId, PoolId, SiteId, SocketState};
use rustc_hash::FxHashMap;
use std::net::SocketAddr;

/// One hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hold {
    pub(super) acquired_ns: u64,
    pub(super) remote: Option<SocketAddr>,
    pub(super) owner: OwnerIx,
    /// Who acquired it.
    pub(super) origin: OwnerIx,
    pub(super) pool: PoolId,
    /// Second in which it entered its state.
    pub(super) state_since: Second,
    /// Second in which it was acquired; `None` if that was before tracing.
    pub(super) born: Option<Second>,
    /// The resync that last confirmed it.
    pub(super) confirmed: u32,
    pub(super) port: Option<u16>,
    pub(super) state: SocketState,
    pub(super) site: Option<SiteId>,
    /// The series that it counts in.
    pub(super) series: Membership,
}

/// All holds.
pub(super) type Holds = FxHashMap<HoldId, Hold>;
