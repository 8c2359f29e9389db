//! Labelled synthetic traffic through the real engine: how many leaks are found, how soon, and who
//! is accused for nothing. Time is a number, so two hours take a second or less.

pub mod baselines;
pub mod judge;
pub mod kinds;
pub mod play;
pub mod policies;
pub mod rng;
pub mod table;
pub mod traffic;
