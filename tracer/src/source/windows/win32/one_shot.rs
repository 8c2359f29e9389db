//! Collects what the one-shot listing and the advice need.

use super::{
    boot_filetime, max_user_port, now_filetime, processes, ranges, services, sockets, time_wait_delay,
    version,
};
use crate::event::{Advice, Degradation};
use crate::source::windows::advice::{Settings, advise};
use crate::source::windows::decoded_event::{Process, Service};
use crate::source::windows::snapshot::{self, Seen};
use crate::source::{OneShot, SourceError};

/// The processes and services. What cannot be listed is added to `degraded`.
pub fn processes_and_services(degraded: &mut Vec<Degradation>) -> (Vec<Process>, Vec<Service>) {
    let mut or_none = |feature: &str, error: SourceError| {
        degraded.push(Degradation { feature: feature.to_owned(), why: error.what, remedy: error.remedy });
    };
    let processes = processes().map_err(|error| or_none("names of processes", error)).unwrap_or_default();
    let services = services().map_err(|error| or_none("services by name", error)).unwrap_or_default();
    (processes, services)
}

/// Lists which owner holds which port now.
///
/// # Errors
/// When no socket can be listed.
pub fn take_one_shot() -> Result<OneShot, SourceError> {
    let (boot, now) = (boot_filetime(), now_filetime());
    let sockets = sockets()?;
    let mut degraded = sockets.degraded;
    let (processes, services) = processes_and_services(&mut degraded);
    let (version, ranges, rows) = (version(), ranges(), sockets.rows);
    Ok(snapshot::one_shot(&Seen { version, boot, now, rows, processes, services, ranges, degraded }))
}

/// The advice for this machine's settings.
#[must_use]
pub fn advice() -> Vec<Advice> {
    let (ranges, time_wait_s, max_user_port) = (ranges(), time_wait_delay(), max_user_port());
    advise(&Settings { ranges, time_wait_s, max_user_port })
}
