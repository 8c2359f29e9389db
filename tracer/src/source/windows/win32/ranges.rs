//! The port ranges from netsh: no documented interface provides them all.

use super::command;
use crate::source::windows::inventory::ranges::{Answers, Question, Ranges};
use std::thread;

/// Runs all queries at once, for netsh starts slowly. It blocks: call it on a worker.
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
