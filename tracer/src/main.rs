//! `portleak`: parse, execute, exit code.

use portleak::cli::Cli;
use portleak::{command, exit};
use std::process::ExitCode;

fn main() -> ExitCode {
    match Cli::from_args(std::env::args_os()) {
        Ok(cli) => command::execute(cli.command).into(),
        Err(error) => {
            // Help goes to standard output with 0, wrong usage to standard error.
            let _ = error.print();
            u8::try_from(error.exit_code()).unwrap_or(exit::USAGE).into()
        }
    }
}
