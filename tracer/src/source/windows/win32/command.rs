//! Runs Windows' own programs, for facts that no interface provides.

use super::text;
use std::io::Read;
use std::os::windows::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use windows_sys::Win32::System::SystemInformation::GetSystemDirectoryW;
use windows_sys::Win32::System::Threading::CREATE_NO_WINDOW;

/// The longest run time of a program.
const LIMIT: Duration = Duration::from_secs(10);

/// The output of a program in the system directory. It gets no window.
///
/// # Errors
/// With a sentence, when it cannot be run, fails, or takes too long.
pub(super) fn run(program: &str, arguments: &[String]) -> Result<Vec<u8>, String> {
    let path = system_directory().ok_or("the system directory is not known")?.join(program);
    let mut child = Command::new(&path)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .creation_flags(CREATE_NO_WINDOW)
        .spawn()
        .map_err(|error| format!("{} cannot be run: {error}", path.display()))?;
    let (send, receive) = mpsc::channel();
    if let Some(mut output) = child.stdout.take() {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let read = output.read_to_end(&mut bytes).map(|_| bytes);
            // The receiver is gone when the program took too long.
            drop(send.send(read));
        });
    }
    let read = receive.recv_timeout(LIMIT);
    if read.is_err() {
        // It took too long. An error means that it has just ended.
        drop(child.kill());
    }
    let status = child.wait().map_err(|error| format!("{program} cannot be waited for: {error}"))?;
    match read {
        Err(_) => Err(format!("{program} took longer than {} s", LIMIT.as_secs())),
        Ok(Err(error)) => Err(format!("what {program} prints cannot be read: {error}")),
        Ok(Ok(_)) if !status.success() => Err(format!("{program} failed ({status})")),
        Ok(Ok(output)) => Ok(output),
    }
}

fn system_directory() -> Option<PathBuf> {
    let mut path = [0; 1_024];
    let room = u32::try_from(path.len()).ok()?;
    // SAFETY: the buffer has the stated size.
    let units = unsafe { GetSystemDirectoryW(path.as_mut_ptr(), room) };
    (1..room).contains(&units).then(|| PathBuf::from(text::narrow(&path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = run("no-such-program.exe", &[]).unwrap_err();
        assert!(error.contains("no-such-program.exe cannot be run"), "{error}");
    }
}
