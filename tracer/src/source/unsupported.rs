//! The source of a platform that has none: it never exists.

use super::{CaptureOptions, Source, SourceError};
use crate::event::{Advice, Capture, Event};
use std::future::Future;

/// Has no values, so nothing below can ever be called.
#[derive(Debug)]
pub enum Unsupported {}

impl Unsupported {
    /// Says why there is no live source here.
    ///
    /// # Errors
    /// Always.
    pub fn open(_options: &CaptureOptions) -> Result<Self, SourceError> {
        Err(refusal("live tracing"))
    }
}

/// It is not for this system.
pub(super) fn refusal(feature: &str) -> SourceError {
    SourceError {
        what: format!("{feature} works on Linux; this is {}", std::env::consts::OS),
        remedy: "run portleak on the Linux machine whose ports leak".to_owned(),
    }
}

impl Source for Unsupported {
    fn capture(&self) -> &Capture {
        match *self {}
    }

    fn now_ns(&self) -> u64 {
        match *self {}
    }

    fn ready(&mut self) -> impl Future<Output = ()> {
        std::future::pending()
    }

    fn drain(&mut self, _events: &mut Vec<Event>) -> Result<(), SourceError> {
        match *self {}
    }

    fn stop(&mut self, _events: &mut Vec<Event>) -> Result<(), SourceError> {
        match *self {}
    }
}

/// There is none yet.
#[must_use]
pub fn advice() -> Vec<Advice> {
    Vec::new()
}

/// Places that users name and that are not here.
pub mod places {
    use crate::event::NetNs;
    use crate::source::SourceError;

    /// There are none.
    ///
    /// # Errors
    /// Always.
    pub fn own_netns() -> Result<NetNs, SourceError> {
        Err(unknown("network namespaces", "--netns all"))
    }

    /// There are none.
    ///
    /// # Errors
    /// Always.
    pub fn known_netns(_inode: u32) -> Result<NetNs, SourceError> {
        own_netns()
    }

    /// There are none.
    ///
    /// # Errors
    /// Always.
    pub fn known_cgroup(_text: &str) -> Result<String, SourceError> {
        Err(unknown("cgroups", "--pid or --comm"))
    }

    fn unknown(what: &str, instead: &str) -> SourceError {
        SourceError {
            what: format!("{} has no {what}", std::env::consts::OS),
            remedy: format!("use {instead}"),
        }
    }
}
