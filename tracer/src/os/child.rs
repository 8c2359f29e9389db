//! The command that `portleak run` runs. It shares portleak's terminal, stdin, stdout and stderr, and
//! never outlives a failure of portleak.

use super::{Signal, system};
use crate::exit;
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::process::ExitStatus;
use std::time::Duration;
use tokio::process::Command;
use tokio::time::timeout;

/// How long a child may take to obey SIGTERM.
const GRACE: Duration = Duration::from_secs(2);

/// The command could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot run {program}: {error}\n  remedy: {}", self.remedy())]
pub struct SpawnError {
    /// What was to be run.
    pub program: String,
    /// Why it was not.
    pub error: io::Error,
}

impl SpawnError {
    /// portleak's exit code, as env(1) has it.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.error.kind() {
            ErrorKind::NotFound => exit::NOT_FOUND,
            // fork(2) failed; nothing is known of the command.
            ErrorKind::WouldBlock | ErrorKind::OutOfMemory => exit::RUN_FAILURE,
            _ => exit::NOT_EXECUTABLE,
        }
    }

    fn remedy(&self) -> &'static str {
        match self.exit_code() {
            exit::NOT_FOUND => "check the name; for a script also the interpreter in its first line",
            exit::NOT_EXECUTABLE => system::HOW_TO_EXECUTE,
            _ => "free memory or end other processes",
        }
    }
}

/// A running command.
#[derive(Debug)]
pub struct Child {
    process: tokio::process::Child,
    pid: u32,
}

impl Child {
    /// Starts `command`: the program, then its arguments.
    ///
    /// # Errors
    /// When it is not found or not executable.
    pub fn spawn(command: &[OsString]) -> Result<Self, SpawnError> {
        let (program, arguments) = command
            .split_first()
            .ok_or_else(|| SpawnError { program: "nothing".to_owned(), error: ErrorKind::NotFound.into() })?;
        let spawned = Command::new(program).args(arguments).spawn();
        let process =
            spawned.map_err(|error| SpawnError { program: program.display().to_string(), error })?;
        let pid = process.id().unwrap_or_default();
        Ok(Self { process, pid })
    }

    /// Its pid, also after it has ended.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Completes when it has ended, at once if it already has.
    ///
    /// # Errors
    /// When the system does not return its status.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.process.wait().await
    }

    /// Passes a signal on; nothing happens when it has ended.
    pub fn send(&mut self, signal: Signal) {
        system::send(&mut self.process, signal);
    }

    /// Ends it if it still runs: SIGTERM, and SIGKILL when that did not help.
    ///
    /// # Errors
    /// When the system does not return its status.
    pub async fn end(&mut self) -> io::Result<ExitStatus> {
        if let Some(status) = self.process.try_wait()? {
            return Ok(status);
        }
        self.send(Signal::Terminate);
        if let Ok(ended) = timeout(GRACE, self.wait()).await {
            return ended;
        }
        self.process.start_kill()?;
        self.wait().await
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn spawn(line: &[&str]) -> Result<Child, SpawnError> {
        let command: Vec<OsString> = line.iter().map(OsString::from).collect();
        Child::spawn(&command)
    }

    async fn code(line: &[&str]) -> u8 {
        let mut child = spawn(line).unwrap();
        system::exit_code(child.wait().await.unwrap())
    }

    #[tokio::test]
    async fn the_command_decides_the_status() {
        assert_eq!(code(&["true"]).await, 0);
        assert_eq!(code(&["false"]).await, 1);
        assert_eq!(code(&["sh", "-c", "exit 7"]).await, 7);
        assert_eq!(code(&["sh", "-c", "kill -TERM $$"]).await, 143);
        assert_eq!(code(&["sh", "-c", "kill -KILL $$"]).await, 137);
    }

    #[tokio::test]
    async fn what_cannot_be_run_has_its_own_codes() {
        let absent = spawn(&["/nonexistent/command"]).unwrap_err();
        assert_eq!(absent.exit_code(), exit::NOT_FOUND);
        assert!(absent.to_string().contains("/nonexistent/command"));

        let file = tempfile::NamedTempFile::new().unwrap();
        let plain = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(file.path(), plain).unwrap();
        let refused = spawn(&[file.path().to_str().unwrap()]).unwrap_err();
        assert_eq!(refused.exit_code(), exit::NOT_EXECUTABLE);
        assert!(refused.to_string().contains("remedy: make it executable"));
    }

    #[tokio::test]
    async fn ending_it_is_final_and_can_be_repeated() {
        let mut child = spawn(&["sleep", "1000"]).unwrap();
        let status = child.end().await.unwrap();
        assert_eq!(system::exit_code(status), 143);
        assert_eq!(child.end().await.unwrap(), status);
        child.send(Signal::Terminate);
    }

    #[tokio::test]
    async fn who_ignores_sigterm_is_killed() {
        let script = "trap '' TERM; echo ready >&2; while :; do sleep 1; done";
        let mut command = Command::new("sh");
        command.args(["-c", script]).stderr(std::process::Stdio::piped());
        let mut process = command.spawn().unwrap();
        let stderr = process.stderr.take().unwrap();
        let mut ready = [0; 1];
        tokio::io::AsyncReadExt::read_exact(&mut { stderr }, &mut ready).await.unwrap();
        let mut child = Child { process, pid: 0 };
        assert_eq!(system::exit_code(child.end().await.unwrap()), 137);
    }
}
