//! The ranges of the pools: netsh is asked, for no documented interface tells them all.

use super::command;
use crate::source::windows::inventory::ranges::{Answers, Question, Ranges};
use std::thread;

/// Asks for all of them at once: netsh takes its time to start. Not for a thread that must not wait.
#[must_use]
pub fn ranges() -> Ranges {
    let answers: Answers = thread::scope(|scope| {
        let ask = |question: Question| {
            (question, scope.spawn(move || command::run("netsh.exe", &question.arguments())))
        };
        let asked: Vec<_> = Question::all().into_iter().map(ask).collect();
        let answer = |thread: thread::ScopedJoinHandle<'_, _>| {
            thread.join().unwrap_or_else(|_| Err("netsh.exe was given up".to_owned()))
        };
        asked.into_iter().map(|(question, thread)| (question, answer(thread))).collect()
    });
    Ranges::of(&answers)
}
