//! Which code it was.

use super::*;
use crate::engine::report::SiteShare;
use crate::event::{Frame, SiteId};
use std::num::NonZeroU64;
use std::sync::Arc;

const LEAKS: u64 = 7;
const RETURNS: u64 = 8;

fn site(number: u64) -> Option<SiteId> {
    NonZeroU64::new(number).map(SiteId)
}

impl Script {
    fn site(&mut self, number: u64) -> &mut Self {
        let frames = [Frame::Address(number)].into();
        site(number)
            .into_iter()
            .for_each(|id| _ = self.at(0.0, EventKind::Site { id, frames: Arc::clone(&frames) }));
        self
    }

    fn acquire_from(&mut self, second: f64, number: u64) -> HoldId {
        self.acquire_as(second, 1, |acquired| acquired.site = site(number))
    }
}

fn share(outcome: &Outcome) -> Option<SiteShare> {
    outcome.summary.owners[0].evidence.first()?.site.clone()
}

/// Two places connect, ten times a second each; one of them closes after half a second.
///
/// ```text
/// leaks    |-------->  |-------->  |-------->
/// returns  |--|        |--|        |--|
/// ```
fn two_places(told: &[u64]) -> Outcome {
    let mut script = Script::default();
    told.iter().for_each(|&number| _ = script.site(number));
    script.each(10.0, 0.0, 60.0, |script, second| {
        script.acquire_from(second, LEAKS);
        let returned = script.acquire_from(second, RETURNS);
        script.release(second + 0.5, returned);
    });
    script.run(Profile::Session, 60.0)
}

#[test]
fn the_place_that_does_not_let_go_is_told() {
    let share = share(&two_places(&[LEAKS, RETURNS])).unwrap();
    assert_eq!((Some(share.id), share.held), (site(LEAKS), 600));
    assert!((600..=610).contains(&share.of), "{} of all", share.of);
    assert_eq!(*share.frames, [Frame::Address(LEAKS)]);
}

#[test]
fn a_place_whose_frames_were_lost_is_not_told() {
    assert_eq!(share(&two_places(&[RETURNS])), None);
}

#[test]
fn without_stacks_no_place_is_told() {
    let mut script = Script::default();
    script.each(10.0, 0.0, 60.0, |script, second| _ = script.acquire(second, 1));
    assert_eq!(share(&script.run(Profile::Session, 60.0)), None);
}
