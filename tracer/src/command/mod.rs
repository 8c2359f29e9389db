//! The subcommands, one file each: from parsed arguments to an exit code.

mod capture;
mod diagnostics;
mod doctor;
mod explain;
mod output;
mod replay;
mod run;
mod snapshot;
mod trace;

use crate::cli::Command;
use crate::exit;
use crate::pipeline::session::RunError;

/// Executes `command`; writes its error to standard error. Returns the exit code.
#[must_use]
pub fn execute(command: Command) -> u8 {
    diagnostics::install();
    let (ended, own_failure) = match command {
        Command::Run(args) => (run::execute(args), exit::RUN_FAILURE),
        Command::Trace(args) => (trace::execute(&args), exit::FAILURE),
        Command::Snapshot(args) => (snapshot::execute(&args), exit::FAILURE),
        Command::Replay(args) => (replay::execute(&args), exit::FAILURE),
        Command::Doctor(args) => (doctor::execute(&args), exit::FAILURE),
        Command::Explain(args) => (explain::execute(&args), exit::FAILURE),
    };
    let code = ended.unwrap_or_else(|error| {
        diagnostics::fail(&error);
        error.downcast_ref().map_or(own_failure, RunError::exit_code)
    });
    diagnostics::flush();
    code
}
