//! The source of a platform that has none: it never exists.

use super::{CaptureOptions, OneShot, Source, SourceError};
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

/// Says why nothing can be looked at here.
///
/// # Errors
/// Always.
pub(super) fn one_shot() -> Result<OneShot, SourceError> {
    Err(refusal("a snapshot"))
}

/// There is none.
#[must_use]
pub fn advice() -> Vec<Advice> {
    Vec::new()
}

/// It is not for this system.
fn refusal(feature: &str) -> SourceError {
    SourceError {
        what: format!("{feature} works on Linux and Windows; this is {}", std::env::consts::OS),
        remedy: "run portleak on the machine whose ports leak".to_owned(),
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

/// Not known here.
#[must_use]
pub fn process_exists(_pid: u32) -> bool {
    true
}
