//! The session's listener: a trace file, record for record, as if it happened now.

use crate::state::{Enabled, PLAN, failure, note, session, text, windows_guid};
use portleak::source::windows::etl::Reader;
use portleak::source::windows::layout::{Kind, Layout, layouts};
use portleak::source::windows::record::Record;
use serde_json::json;
use std::ffi::c_void;
use std::fs::File;
use std::io::BufReader;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use windows_sys::Win32::Foundation::{
    ERROR_CANCELLED, ERROR_INVALID_HANDLE, ERROR_SUCCESS, ERROR_WMI_INSTANCE_NOT_FOUND, FILETIME,
    SetLastError, WIN32_ERROR,
};
use windows_sys::Win32::System::Diagnostics::Etw::{
    EVENT_DESCRIPTOR, EVENT_ENABLE_PROPERTY_PROCESS_START_KEY, EVENT_ENABLE_PROPERTY_STACK_TRACE,
    EVENT_HEADER, EVENT_HEADER_EXT_TYPE_PROCESS_START_KEY, EVENT_HEADER_EXTENDED_DATA_ITEM,
    EVENT_HEADER_FLAG_64_BIT_HEADER, EVENT_RECORD, EVENT_TRACE_LOGFILEW, PEVENT_RECORD_CALLBACK,
    PROCESSTRACE_HANDLE,
};

/// The listener's handle.
const HANDLE: u64 = 5;
/// `INVALID_PROCESSTRACE_HANDLE` (evntrace.h).
const INVALID: u64 = u64::MAX;
/// From 1601 to 1970, in the 100 ns of a FILETIME.
const UNIX_EPOCH_FILETIME: u64 = 116_444_736_000_000_000;
/// How soon it is seen that the session has ended.
const PATIENCE: Duration = Duration::from_millis(10);

/// Who listens.
#[derive(Clone, Copy)]
struct Listener {
    callback: PEVENT_RECORD_CALLBACK,
    context: *mut c_void,
}

// SAFETY: the pointer is the listener's; it is handed back to the listener's callback only.
unsafe impl Send for Listener {}

static LISTENER: Mutex<Option<Listener>> = Mutex::new(None);

/// # Safety
/// As of Windows' own function.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn OpenTraceW(file: *mut EVENT_TRACE_LOGFILEW) -> PROCESSTRACE_HANDLE {
    // SAFETY: the caller has given one, with the name of a session, for records.
    let (name, mode, callback, context) = unsafe {
        let file = &*file;
        let mode = file.Anonymous1.ProcessTraceMode;
        (text(file.LoggerName), mode, file.Anonymous2.EventRecordCallback, file.Context)
    };
    let is_there = session().as_ref().is_some_and(|session| Some(&session.name) == name.as_ref());
    let absent = (!is_there).then_some(ERROR_WMI_INSTANCE_NOT_FOUND);
    let failed = failure("OpenTraceW").or(absent);
    note(&json!({ "call": "OpenTraceW", "name": name, "mode": mode, "result": failed.unwrap_or(0) }));
    if let Some(code) = failed {
        // SAFETY: it takes a number.
        unsafe { SetLastError(code) };
        return PROCESSTRACE_HANDLE { Value: INVALID };
    }
    *LISTENER.lock().expect("a listener") = Some(Listener { callback, context });
    PROCESSTRACE_HANDLE { Value: HANDLE }
}

/// # Safety
/// As of Windows' own function.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn ProcessTrace(
    handles: *const PROCESSTRACE_HANDLE,
    count: u32,
    _start: *const FILETIME,
    _end: *const FILETIME,
) -> WIN32_ERROR {
    // SAFETY: the caller has given so many handles; one is enough to be checked.
    let is_ours = count == 1 && unsafe { (*handles).Value } == HANDLE;
    let listener = *LISTENER.lock().expect("a listener");
    let result = match (listener.filter(|_| is_ours), failure("ProcessTrace")) {
        (_, Some(code)) => code,
        (None, None) => ERROR_INVALID_HANDLE,
        (Some(listener), None) => play(listener),
    };
    note(&json!({ "call": "ProcessTrace", "result": result }));
    result
}

/// # Safety
/// As of Windows' own function.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn CloseTrace(handle: PROCESSTRACE_HANDLE) -> WIN32_ERROR {
    let is_ours = handle.Value == HANDLE;
    if let Some(session) = session().as_mut().filter(|_| is_ours) {
        session.closed = true;
    }
    note(&json!({ "call": "CloseTrace" }));
    if is_ours { ERROR_SUCCESS } else { ERROR_INVALID_HANDLE }
}

/// Plays the trace until the session ends or the listener goes.
fn play(listener: Listener) -> WIN32_ERROR {
    let file = BufReader::new(File::open(&PLAN.trace).expect("the trace to play"));
    let mut reader = Reader::open(file, |_, _, _| {}).expect("a trace");
    let start_ns = reader.header().start_ns();
    let began = begin(reader.header().events_lost);
    let began_filetime = filetime(SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_nanos());
    let recorded = u128::try_from(reader.header().clock().unix_ns).expect("a trace after 1970");
    let later = began_filetime - filetime(recorded);
    let mut over = None;
    while over.is_none() {
        let more = reader.read(64, |_, at_ns, record| {
            let after_ns = at_ns.saturating_sub(start_ns);
            over = over.or_else(|| wait(began + Duration::from_nanos(after_ns)).err());
            if over.is_none() {
                let payload = payload(record, later);
                let record = Record { time: began_filetime + after_ns / 100, payload: &payload, ..*record };
                hand_over(listener, &record);
            }
        });
        if !more.expect("a whole trace") {
            break;
        }
    }
    let never = began + Duration::from_secs(1 << 20);
    over.unwrap_or_else(|| wait(never).err().unwrap_or(ERROR_SUCCESS))
}

fn begin(events_lost: u64) -> Instant {
    let now = Instant::now();
    if let Some(session) = session().as_mut() {
        session.began = Some(now);
        session.events_lost = u32::try_from(events_lost).expect("not that many");
    }
    now
}

/// Waits until what happens at `due` is handed over. An error is what [`ProcessTrace`] returns then.
fn wait(due: Instant) -> Result<(), WIN32_ERROR> {
    loop {
        let now = Instant::now();
        if let Some(session) = session().as_ref() {
            if session.closed {
                return Err(ERROR_CANCELLED);
            }
            // What was in its buffers when it ended is handed over still.
            match session.stopped {
                Some(stopped) if due <= stopped => return Ok(()),
                Some(_) => return Err(ERROR_SUCCESS),
                None => {}
            }
            let began = session.began.unwrap_or(due);
            let timers = (due - began).as_secs_f64().div_euclid(session.flush.as_secs_f64()) + 1.0;
            let by_timer = began + session.flush.mul_f64(timers);
            if now >= by_timer || session.flushed.is_some_and(|flushed| due <= flushed) {
                return Ok(());
            }
        }
        thread::sleep(PATIENCE);
    }
}

fn filetime(unix_ns: u128) -> u64 {
    UNIX_EPOCH_FILETIME + u64::try_from(unix_ns / 100).expect("a year we live to see")
}

/// A record's data, the times in it so much later.
fn payload(record: &Record<'_>, later: u64) -> Vec<u8> {
    let mut payload = record.payload.to_vec();
    let is_its = |layout: &&Layout| layout.id == record.id && layout.version == record.version;
    let mut at = 0;
    for field in layouts(record.provider).iter().find(is_its).map_or(&[][..], |layout| layout.fields) {
        at += match field.kind() {
            Kind::Time => {
                let time = payload[at..].first_chunk_mut::<8>().expect("a whole payload");
                *time = (u64::from_le_bytes(*time) + later).to_le_bytes();
                8
            }
            Kind::U16 => 2,
            Kind::U32 => 4,
            Kind::U64 | Kind::Pointer => 8,
            // Behind these lie no times.
            Kind::Address | Kind::Sid | Kind::Text => break,
        };
    }
    payload
}

/// Gives the listener a record that its provider was enabled for.
fn hand_over(listener: Listener, record: &Record<'_>) {
    let enabled = session().as_ref().and_then(|session| session.enabled.get(&record.provider).cloned());
    let Some(enabled) = enabled.filter(|enabled| is_listed(enabled.ids.as_deref(), record.id)) else {
        return;
    };
    let mut items = items(record, &enabled);
    let mut event = EVENT_RECORD {
        EventHeader: EVENT_HEADER {
            Size: u16::try_from(size_of::<EVENT_HEADER>()).expect("80 bytes"),
            Flags: u16::try_from(EVENT_HEADER_FLAG_64_BIT_HEADER).expect("a flag"),
            ThreadId: record.tid.unwrap_or(u32::MAX),
            ProcessId: record.pid.unwrap_or(u32::MAX),
            TimeStamp: record.time.cast_signed(),
            ProviderId: windows_guid(record.provider),
            EventDescriptor: EVENT_DESCRIPTOR {
                Id: record.id,
                Version: record.version,
                Level: 4,
                Opcode: record.opcode,
                ..EVENT_DESCRIPTOR::default()
            },
            ..EVENT_HEADER::default()
        },
        ExtendedDataCount: u16::try_from(items.len()).expect("few items"),
        ExtendedData: items.as_mut_ptr(),
        UserDataLength: u16::try_from(record.payload.len()).expect("a short payload"),
        UserData: record.payload.as_ptr().cast_mut().cast(),
        UserContext: listener.context,
        ..EVENT_RECORD::default()
    };
    if let Some(callback) = listener.callback {
        // SAFETY: as Windows calls it: with a record that lives until it returns.
        unsafe { callback(&raw mut event) };
    }
}

fn is_listed(ids: Option<&[u16]>, id: u16) -> bool {
    ids.is_none_or(|ids| ids.contains(&id))
}

/// What is attached to a record, of that which was asked for. In a trace each is its size, its kind,
/// whether another follows, the size of its data, and the data.
fn items(record: &Record<'_>, enabled: &Enabled) -> Vec<EVENT_HEADER_EXTENDED_DATA_ITEM> {
    let mut items = Vec::new();
    let mut rest = record.extended;
    while let Some((head, _)) = rest.split_first_chunk::<8>() {
        let number = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
        let (size, kind, bytes) = (usize::from(number(0)), number(2), number(6));
        let wanted = if u32::from(kind) == EVENT_HEADER_EXT_TYPE_PROCESS_START_KEY {
            enabled.properties & EVENT_ENABLE_PROPERTY_PROCESS_START_KEY != 0
        } else {
            enabled.properties & EVENT_ENABLE_PROPERTY_STACK_TRACE != 0
                && is_listed(enabled.stacks.as_deref(), record.id)
        };
        if wanted {
            let mut item = EVENT_HEADER_EXTENDED_DATA_ITEM::default();
            (item.ExtType, item.DataSize) = (kind, bytes);
            item.DataPtr = rest[8..].as_ptr() as u64;
            items.push(item);
        }
        rest = rest.get(size.max(8)..).unwrap_or_default();
    }
    items
}
