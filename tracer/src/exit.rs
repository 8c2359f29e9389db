//! Exit codes: part of the interface, scripts test them.

/// All went well.
pub const OK: u8 = 0;
/// portleak itself failed.
pub const FAILURE: u8 = 1;
/// Wrong usage.
pub const USAGE: u8 = 2;
/// `--fail-on-leak`, and an owner ended as suspected, leak or exhausted.
pub const LEAK: u8 = 3;
/// `run`: portleak itself failed, as env(1) and timeout(1) have it.
pub const RUN_FAILURE: u8 = 125;
/// `run`: the command was found and could not be executed.
pub const NOT_EXECUTABLE: u8 = 126;
/// `run`: the command was not found.
pub const NOT_FOUND: u8 = 127;
