//! What the stand-in is to do: written by the tests, read by the package `fakewin`.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The variable with the path of a [`Plan`], for the program under test.
pub const VARIABLE: &str = "PORTLEAK_FAKE_PLAN";

/// A plan; paths are as Windows' programs write them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Plan {
    /// The .etl file that is played as the session's events, in real time.
    pub trace: String,
    /// Where every call is noted, one JSON object a line.
    pub log: String,
    /// Functions that fail, and with which code of Windows'.
    pub failures: BTreeMap<String, u32>,
    /// A session of this name runs already.
    pub stale: Option<String>,
    /// From this second on the session has lost what the trace's header says.
    pub lost_s: f64,
    /// At this second somebody types Ctrl-C.
    pub ctrl_c_s: Option<f64>,
    /// What lies in the kernel's memory.
    pub drivers: Vec<Driver>,
    /// What the machine lists as open.
    pub sockets: Vec<Socket>,
}

/// A socket on 0.0.0.0, one of TCP connected to 10.0.0.9:443.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Socket {
    pub udp: bool,
    pub pid: u32,
    pub port: u16,
    /// `MIB_TCP_STATE` (tcpmib.h).
    pub state: u32,
    /// It is there from this second of the trace up to that.
    pub from_s: f64,
    pub until_s: f64,
}

/// A driver in memory.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Driver {
    pub base: u64,
    pub bytes: u32,
    /// Its path as the kernel has it.
    pub path: String,
}
