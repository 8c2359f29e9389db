//! Errors of trace sessions by their number (winerror.h), each with its remedy.

use super::providers::{SESSIONS_MAX, session_name};
use crate::source::SourceError;

/// `ERROR_ACCESS_DENIED`.
pub const ACCESS_DENIED: u32 = 5;
/// `ERROR_BAD_LENGTH`, `ERROR_INVALID_PARAMETER`.
const BAD_REQUEST: [u32; 2] = [24, 87];
/// `ERROR_ALREADY_EXISTS`.
pub const ALREADY_EXISTS: u32 = 183;
/// `ERROR_NO_SYSTEM_RESOURCES`.
const NO_SYSTEM_RESOURCES: u32 = 1450;
/// `ERROR_NOT_ENOUGH_MEMORY`, `ERROR_OUTOFMEMORY`.
const NO_MEMORY: [u32; 2] = [8, 14];
/// `ERROR_DISK_FULL`.
const DISK_FULL: u32 = 112;
/// `ERROR_WMI_INSTANCE_NOT_FOUND`: there is no such session.
pub const NO_SESSION: u32 = 4201;

/// The winerror.h number of a code that may be an HRESULT: ferrisetw passes on HRESULTs from some calls
/// and plain numbers from others.
#[must_use]
pub fn number(code: i32) -> u32 {
    /// `FACILITY_WIN32` with the failure bit.
    const WIN32: u32 = 0x8007;
    let code = code.cast_unsigned();
    if code >> 16 == WIN32 { code & 0xffff } else { code }
}

/// The session of that name cannot start.
#[must_use]
pub fn cannot_start(name: &str, number: u32) -> SourceError {
    let (why, remedy) = match number {
        ACCESS_DENIED => (
            "this user may not trace (error 5)",
            "run it as Administrator, or join the group \"Performance Log Users\" and log in again"
                .to_owned(),
        ),
        ALREADY_EXISTS => (
            "another session of that name starts again whenever it is stopped (error 183)",
            format!("find the program that starts it; end it with: logman stop {name} -ets"),
        ),
        NO_SYSTEM_RESOURCES => (
            "the limit of trace sessions is reached, in total or for one provider (error 1450)",
            "list them (logman query -ets), and end an unneeded one (logman stop NAME -ets)".to_owned(),
        ),
        code if NO_MEMORY.contains(&code) => {
            ("there is no memory for its buffers", "use smaller buffers: --buffer 1M".to_owned())
        }
        DISK_FULL => ("the disk is full", "free some space".to_owned()),
        code if BAD_REQUEST.contains(&code) => (
            "Windows rejects the request",
            format!("report it with this text and the Windows version (error {code})"),
        ),
        code => ("Windows refuses it", format!("look the number up: net helpmsg {code}")),
    };
    let number = if why.contains("(error") { String::new() } else { format!(" (error {number})") };
    SourceError { what: format!("cannot start the trace session {name:?}: {why}{number}"), remedy }
}

/// Another program has ended the session.
#[must_use]
pub fn ended_by_others(name: &str, number: u32) -> SourceError {
    let why = if number == 0 { "another program stopped it".to_owned() } else { format!("error {number}") };
    SourceError {
        what: format!("the trace session {name:?} has ended: {why}"),
        remedy: "trace again; check whether a script or logman stops trace sessions".to_owned(),
    }
}

/// Every session name is in use.
#[must_use]
pub fn all_in_use() -> SourceError {
    SourceError {
        what: format!("{SESSIONS_MAX} portleak processes trace this machine already"),
        remedy: format!("end one of them; their sessions are {} and so on", session_name(0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_in_hresults() {
        assert_eq!(number(-2_147_024_891), ACCESS_DENIED);
        assert_eq!(number(5), 5);
        assert_eq!(number(0x8004_0001_u32.cast_signed()), 0x8004_0001, "of another facility");
    }

    #[test]
    fn each_error_has_its_number_once_and_a_remedy() {
        for number in [5, 8, 14, 24, 87, 112, 183, 1450, 4317] {
            let error = cannot_start("portleak", number).to_string();
            assert!(error.contains(&number.to_string()), "{error}");
            assert!(error.matches("(error").count() <= 2 && error.contains("remedy: "), "{error}");
        }
        assert!(cannot_start("portleak", 5).remedy.contains("Performance Log Users"));
        assert!(cannot_start("portleak", 183).remedy.contains("logman stop portleak -ets"));
        assert!(cannot_start("portleak", 1450).remedy.contains("logman query -ets"));
        assert!(cannot_start("portleak", 4317).remedy.contains("net helpmsg 4317"));
    }
}
