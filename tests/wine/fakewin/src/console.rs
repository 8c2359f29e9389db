//! Somebody who types Ctrl-C: wine has no console without a terminal.

use crate::state::{PLAN, note};
use serde_json::json;
use std::thread;
use std::time::Duration;
use windows_sys::Win32::System::Console::{CTRL_C_EVENT, PHANDLER_ROUTINE};
use windows_sys::core::BOOL;

/// # Safety
/// As of Windows' own function.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn SetConsoleCtrlHandler(handler: PHANDLER_ROUTINE, add: BOOL) -> BOOL {
    note(&json!({ "call": "SetConsoleCtrlHandler", "add": add }));
    if let (Some(handler), Some(after_s), 1..) = (handler, PLAN.ctrl_c_s, add) {
        thread::spawn(move || {
            thread::sleep(Duration::from_secs_f64(after_s));
            // SAFETY: Windows calls it the same way, on a thread of its own.
            let handled = unsafe { handler(CTRL_C_EVENT) };
            note(&json!({ "call": "Ctrl-C", "handled": handled }));
        });
    }
    1
}
