//! What the functions share: the plan, the session, the notes.

use portleak::source::windows::guid::Guid;
use portleak_tests::plan::{Plan, VARIABLE};
use serde_json::Value;
use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::io::Write;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use windows_sys::core::{GUID, PCWSTR};

/// What a provider was enabled with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Enabled {
    /// `None`: all events.
    pub(crate) ids: Option<Vec<u16>>,
    /// Of these a stack is taken; `None`: of all, if at all.
    pub(crate) stacks: Option<Vec<u16>>,
    /// `EVENT_ENABLE_PROPERTY_…`.
    pub(crate) properties: u32,
}

/// The one session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) name: String,
    pub(crate) flush: Duration,
    pub(crate) enabled: BTreeMap<Guid, Enabled>,
    /// When its first events happened: when somebody began to listen.
    pub(crate) began: Option<Instant>,
    /// What happened before was handed over, whatever the timer says.
    pub(crate) flushed: Option<Instant>,
    /// Since when it runs no more.
    pub(crate) stopped: Option<Instant>,
    /// The listener went.
    pub(crate) closed: bool,
    /// What the trace's header says of losses.
    pub(crate) events_lost: u32,
}

impl Session {
    pub(crate) fn new(name: String, flush: Duration) -> Self {
        let enabled = BTreeMap::new();
        let (began, flushed, stopped) = (None, None, None);
        Self { name, flush, enabled, began, flushed, stopped, closed: false, events_lost: 0 }
    }

    /// What it has lost up to now.
    pub(crate) fn lost(&self) -> u32 {
        let now_s = self.began.map_or(0.0, |began| began.elapsed().as_secs_f64());
        if now_s >= PLAN.lost_s { self.events_lost } else { 0 }
    }
}

/// The plan of this run.
pub(crate) static PLAN: LazyLock<Plan> = LazyLock::new(|| {
    let path = env::var(VARIABLE).expect("the path of a plan");
    let text = fs::read_to_string(path).expect("a plan");
    serde_json::from_str(&text).expect("a plan in JSON")
});

static NOTES: LazyLock<Mutex<File>> =
    LazyLock::new(|| Mutex::new(File::create(&PLAN.log).expect("a file for the notes")));

static SESSION: LazyLock<Mutex<Option<Session>>> = LazyLock::new(|| {
    let stale = PLAN.stale.clone().map(|name| Session::new(name, Duration::from_secs(1)));
    Mutex::new(stale)
});

/// The session, if one was started.
pub(crate) fn session() -> MutexGuard<'static, Option<Session>> {
    SESSION.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notes a call.
pub(crate) fn note(call: &Value) {
    let mut notes = NOTES.lock().unwrap_or_else(PoisonError::into_inner);
    writeln!(notes, "{call}").expect("room for the notes");
}

/// The code that a function is to fail with.
pub(crate) fn failure(function: &str) -> Option<u32> {
    PLAN.failures.get(function).copied()
}

/// A text in UTF-16 up to its zero.
///
/// # Safety
/// `text` is null or points to one.
pub(crate) unsafe fn text(text: PCWSTR) -> Option<String> {
    if text.is_null() {
        return None;
    }
    // SAFETY: it goes on up to its zero, as the caller promises.
    let length = (0..).take_while(|&at| unsafe { *text.add(at) } != 0).count();
    // SAFETY: those were just read.
    Some(String::from_utf16_lossy(unsafe { std::slice::from_raw_parts(text, length) }))
}

/// The bytes of a provider's name as they lie in a trace.
pub(crate) fn guid(guid: &GUID) -> Guid {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&guid.data1.to_le_bytes());
    bytes[4..6].copy_from_slice(&guid.data2.to_le_bytes());
    bytes[6..8].copy_from_slice(&guid.data3.to_le_bytes());
    bytes[8..].copy_from_slice(&guid.data4);
    Guid(bytes)
}

/// The same, back.
pub(crate) fn windows_guid(guid: Guid) -> GUID {
    let bytes = guid.0;
    GUID {
        data1: u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]),
        data2: u16::from_le_bytes([bytes[4], bytes[5]]),
        data3: u16::from_le_bytes([bytes[6], bytes[7]]),
        data4: bytes[8..].try_into().expect("eight bytes"),
    }
}
