//! Why the kernel refused a probe.

use aya::programs::ProgramError;

/// Why a probe was refused, in a line: the kernel's error, and the verifier's last words if any.
pub(crate) fn explain(error: &ProgramError) -> String {
    match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            let log = verifier_log.to_string();
            let last =
                log.lines().rev().find(|line| !line.trim().is_empty() && !line.starts_with("processed "));
            last.map_or_else(|| io_error.to_string(), |line| format!("{io_error}: {}", line.trim()))
        }
        ProgramError::SyscallError(call) => format!("{}: {}", call.call, call.io_error),
        other => other.to_string(),
    }
}
