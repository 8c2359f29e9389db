//! Labelled synthetic traffic through the real engine: how many leaks are found, how soon, and who
//! is accused for nothing. Time is a number, so two hours take a second or less.

pub(crate) mod baselines;
pub(crate) mod dice;
pub(crate) mod judge;
pub(crate) mod kinds;
pub(crate) mod play;
pub(crate) mod table;
pub(crate) mod traffic;
