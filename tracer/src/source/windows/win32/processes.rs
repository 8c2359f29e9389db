//! The processes: Toolhelp's list (tlhelp32.h), and what each process reveals on request.
//!
//! Of other users' processes and of protected ones, an unprivileged user learns only the name and parent.

use super::buffer::{Buffer, bytes_of};
use super::handle::Handle;
use super::{failure, last_error, text};
use crate::source::SourceError;
use crate::source::windows::bytes::Bytes;
use crate::source::windows::decoded_event::{Process, ProcessLife};
use windows_sys::Wdk::System::Threading::NtQueryInformationProcess;
use windows_sys::Win32::Foundation::{ERROR_NO_MORE_FILES, FILETIME};
use windows_sys::Win32::System::Diagnostics::ToolHelp::{
    CreateToolhelp32Snapshot, PROCESSENTRY32W, Process32FirstW, Process32NextW, TH32CS_SNAPPROCESS,
};
use windows_sys::Win32::System::Threading::{
    GetProcessTimes, OpenProcess, PROCESS_QUERY_LIMITED_INFORMATION, QueryFullProcessImageNameW,
};

/// `ProcessCommandLineInformation`, since Windows 8.1: undocumented; ntpsapi.h of System Informer's phnt.
const COMMAND_LINE: i32 = 60;
/// The longest path of Windows, in UTF-16 units.
const PATH_MAX: usize = 32_768;

/// Lists the processes.
///
/// # Errors
/// When Windows does not list them.
pub fn processes() -> Result<Vec<Process>, SourceError> {
    let what = "CreateToolhelp32Snapshot cannot list the processes";
    // SAFETY: CloseHandle closes the returned handle, and nothing else owns it.
    let list = unsafe { Handle::of(CreateToolhelp32Snapshot(TH32CS_SNAPPROCESS, 0)) };
    let list = list.ok_or_else(|| failure(what, last_error()))?;
    let mut entry = PROCESSENTRY32W { dwSize: bytes_of::<PROCESSENTRY32W>(), ..PROCESSENTRY32W::default() };
    let mut processes = Vec::new();
    // SAFETY: the list is open, and `entry` states its size.
    let mut more = unsafe { Process32FirstW(list.get(), &raw mut entry) } != 0;
    while more {
        let listed = Process {
            parent: Some(entry.th32ParentProcessID).filter(|&parent| parent != 0),
            image: Some(text::narrow(&entry.szExeFile)).filter(|name| !name.is_empty()),
            ..unknown(entry.th32ProcessID)
        };
        processes.push(look(listed));
        // SAFETY: as above.
        more = unsafe { Process32NextW(list.get(), &raw mut entry) } != 0;
    }
    match last_error() {
        ERROR_NO_MORE_FILES => Ok(processes),
        code => Err(failure(what, code)),
    }
}

/// Whether a process with this pid exists. True if the processes cannot be listed.
#[must_use]
pub fn process_exists(pid: u32) -> bool {
    processes().map_or(true, |processes| processes.iter().any(|process| process.pid == pid))
}

fn unknown(pid: u32) -> Process {
    Process {
        life: ProcessLife::Exists,
        pid,
        parent: None,
        parent_start_key: None,
        created: None,
        start_key: None,
        image: None,
        command: None,
    }
}

/// Adds what the process itself reveals.
fn look(process: Process) -> Process {
    // SAFETY: CloseHandle closes the returned handle, and nothing else owns it.
    let handle = unsafe { Handle::of(OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, 0, process.pid)) };
    let Some(handle) = handle else {
        return process;
    };
    Process {
        created: created(&handle),
        image: path(&handle).or(process.image),
        command: command_line(&handle),
        ..process
    }
}

fn created(process: &Handle) -> Option<u64> {
    let [mut created, mut exited, mut kernel, mut user] = [FILETIME::default(); 4];
    // SAFETY: the process is open, and there is room for the four times.
    let done = unsafe {
        GetProcessTimes(process.get(), &raw mut created, &raw mut exited, &raw mut kernel, &raw mut user)
    };
    let ticks = u64::from(created.dwHighDateTime) << 32 | u64::from(created.dwLowDateTime);
    (done != 0 && ticks != 0).then_some(ticks)
}

fn path(process: &Handle) -> Option<String> {
    let mut path = vec![0; PATH_MAX];
    let mut units = u32::try_from(path.len()).ok()?;
    // SAFETY: the process is open, and the path has as much room as `units` says.
    let done = unsafe { QueryFullProcessImageNameW(process.get(), 0, path.as_mut_ptr(), &raw mut units) };
    (done != 0).then(|| text::narrow(path.get(..units as usize).unwrap_or_default()))
}

/// The answer is a `UNICODE_STRING` (length, capacity, pointer), with its text in the same buffer.
fn command_line(process: &Handle) -> Option<String> {
    let answer = Buffer::fill(1_024, |to, bytes, needed| {
        // SAFETY: the process is open, `to` has as many bytes, and `needed` outlives the call.
        unsafe { NtQueryInformationProcess(process.get(), COMMAND_LINE, to, bytes, needed) }.cast_unsigned()
    });
    let mut answer = answer.ok()?;
    let start = answer.pointer().addr();
    let bytes = answer.bytes();
    let length = usize::from(u16::from_ne_bytes(*bytes.first_chunk()?));
    let text = usize::from_ne_bytes(*bytes.get(size_of::<usize>()..)?.first_chunk()?);
    let line = Bytes(bytes.get(text.checked_sub(start)?..)?.get(..length)?).wide();
    (!line.is_empty()).then_some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_are_among_them() {
        let own = std::process::id();
        let processes = processes().unwrap();
        let listed = processes.iter().find(|process| process.pid == own).unwrap();
        let asked = look(unknown(own));
        assert_eq!((listed.created, &listed.image), (asked.created, &asked.image));
        let exe = std::env::current_exe().unwrap();
        let name = exe.file_name().unwrap().to_string_lossy().into_owned();
        assert!(asked.image.is_some_and(|image| image.ends_with(&name)));
    }

    #[test]
    fn nobody_has_a_pid_that_is_none() {
        assert!(process_exists(std::process::id()) && !process_exists(u32::MAX));
    }
}
