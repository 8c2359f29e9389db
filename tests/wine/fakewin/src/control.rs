//! The session's controller: start, enable, query, flush, stop.

use crate::state::{Enabled, Session, failure, guid, note, session, text};
use portleak::source::windows::guid::Guid;
use serde_json::json;
use std::slice;
use std::time::{Duration, Instant};
use windows_sys::Win32::Foundation::{
    ERROR_ALREADY_EXISTS, ERROR_BAD_LENGTH, ERROR_INVALID_PARAMETER, ERROR_SUCCESS,
    ERROR_WMI_INSTANCE_NOT_FOUND, WIN32_ERROR,
};
use windows_sys::Win32::System::Diagnostics::Etw::{
    CONTROLTRACE_HANDLE, ENABLE_TRACE_PARAMETERS, EVENT_CONTROL_CODE_ENABLE_PROVIDER,
    EVENT_ENABLE_PROPERTY_STACK_TRACE, EVENT_FILTER_EVENT_ID, EVENT_FILTER_TYPE_EVENT_ID,
    EVENT_FILTER_TYPE_STACKWALK, EVENT_TRACE_CONTROL, EVENT_TRACE_CONTROL_FLUSH, EVENT_TRACE_CONTROL_QUERY,
    EVENT_TRACE_CONTROL_STOP, EVENT_TRACE_PROPERTIES,
};
use windows_sys::core::{GUID, PCWSTR};

/// The session's handle.
const HANDLE: u64 = 0x77;
/// `MAX_EVENT_FILTER_EVENT_ID_COUNT` (evntprov.h).
const IDS_MAX: u16 = 64;

/// # Safety
/// As of Windows' own function.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn StartTraceW(
    handle: *mut CONTROLTRACE_HANDLE,
    name: PCWSTR,
    properties: *mut EVENT_TRACE_PROPERTIES,
) -> WIN32_ERROR {
    // SAFETY: the caller has given a name and properties.
    let (name, properties) = unsafe { (text(name).unwrap_or_default(), &mut *properties) };
    let started = start(&name, properties);
    let at = properties.LogFileNameOffset as usize;
    // SAFETY: where there is an offset, a text lies behind it.
    let file = (at > 0).then(|| unsafe { text((&raw const *properties).byte_add(at).cast()) });
    note(&json!({
        "call": "StartTraceW", "name": name, "file": file, "buffer_kib": properties.BufferSize,
        "buffers": [properties.MinimumBuffers, properties.MaximumBuffers], "mode": properties.LogFileMode,
        "flush_s": properties.FlushTimer, "clock": properties.Wnode.ClientContext, "result": started,
    }));
    if started == ERROR_SUCCESS {
        // SAFETY: the caller has given a place for the handle.
        unsafe { (*handle).Value = HANDLE };
        describe(properties, 0);
    }
    started
}

fn start(name: &str, properties: &EVENT_TRACE_PROPERTIES) -> WIN32_ERROR {
    if let Some(code) = failure("StartTraceW") {
        return code;
    }
    let name_end = properties.LoggerNameOffset as usize + (name.encode_utf16().count() + 1) * 2;
    if name_end > properties.Wnode.BufferSize as usize {
        return ERROR_BAD_LENGTH;
    }
    let mut session = session();
    if session.as_ref().is_some_and(|session| session.stopped.is_none()) {
        return ERROR_ALREADY_EXISTS;
    }
    let flush = Duration::from_secs(u64::from(properties.FlushTimer).max(1));
    *session = Some(Session::new(name.to_owned(), flush));
    ERROR_SUCCESS
}

/// # Safety
/// As of Windows' own function.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn ControlTraceW(
    handle: CONTROLTRACE_HANDLE,
    name: PCWSTR,
    properties: *mut EVENT_TRACE_PROPERTIES,
    code: EVENT_TRACE_CONTROL,
) -> WIN32_ERROR {
    // SAFETY: a name is null or a text; properties must be given.
    let (name, properties) = unsafe { (text(name), &mut *properties) };
    let (done, lost) = control(handle.Value, name.as_deref(), properties, code);
    let verb = match code {
        EVENT_TRACE_CONTROL_QUERY => "query",
        EVENT_TRACE_CONTROL_STOP => "stop",
        EVENT_TRACE_CONTROL_FLUSH => "flush",
        _ => "update",
    };
    note(&json!({ "call": "ControlTraceW", "name": name, "verb": verb, "lost": lost, "result": done }));
    done
}

fn control(
    handle: u64,
    name: Option<&str>,
    properties: &mut EVENT_TRACE_PROPERTIES,
    code: EVENT_TRACE_CONTROL,
) -> (WIN32_ERROR, u32) {
    if let Some(code) = failure("ControlTraceW") {
        return (code, 0);
    }
    if (properties.Wnode.BufferSize as usize) < size_of::<EVENT_TRACE_PROPERTIES>() {
        return (ERROR_BAD_LENGTH, 0);
    }
    let mut session = session();
    let is_meant = |session: &&mut Session| {
        // Scenarios run at once: then all but one have sessions called portleak-2 and so on.
        let has_name = name.is_some_and(|name| name.starts_with(&session.name));
        session.stopped.is_none() && (handle == HANDLE || has_name)
    };
    let Some(session) = session.as_mut().filter(is_meant) else {
        return (ERROR_WMI_INSTANCE_NOT_FOUND, 0);
    };
    match code {
        EVENT_TRACE_CONTROL_STOP => session.stopped = Some(Instant::now()),
        EVENT_TRACE_CONTROL_FLUSH => session.flushed = Some(Instant::now()),
        _ => {}
    }
    describe(properties, session.lost());
    (ERROR_SUCCESS, session.lost())
}

fn describe(properties: &mut EVENT_TRACE_PROPERTIES, lost: u32) {
    properties.Wnode.Anonymous1.HistoricalContext = HANDLE;
    properties.EventsLost = lost;
    (properties.RealTimeBuffersLost, properties.LogBuffersLost) = (0, 0);
}

/// # Safety
/// As of Windows' own function.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "system" fn EnableTraceEx2(
    handle: CONTROLTRACE_HANDLE,
    provider: *const GUID,
    code: u32,
    level: u8,
    any: u64,
    _all: u64,
    _timeout: u32,
    parameters: *const ENABLE_TRACE_PARAMETERS,
) -> WIN32_ERROR {
    // SAFETY: a provider must be given; parameters may be null.
    let (provider, asked) = unsafe { (guid(&*provider), asked(parameters)) };
    let done = match &asked {
        _ if handle.Value != HANDLE => ERROR_INVALID_PARAMETER,
        Err(code) => *code,
        Ok(asked) => enable(provider, code, asked),
    };
    let asked = asked.unwrap_or_default();
    note(&json!({
        "call": "EnableTraceEx2", "provider": provider.to_string(), "code": code, "level": level, "any": any,
        "properties": asked.properties, "ids": asked.ids, "stacks": asked.stacks, "result": done,
    }));
    done
}

fn enable(provider: Guid, code: u32, asked: &Enabled) -> WIN32_ERROR {
    if let Some(code) = failure("EnableTraceEx2") {
        return code;
    }
    let mut session = session();
    let Some(session) = session.as_mut().filter(|session| session.stopped.is_none()) else {
        return ERROR_INVALID_PARAMETER;
    };
    // Asked to tell its state, a provider stays enabled as it was.
    if code == EVENT_CONTROL_CODE_ENABLE_PROVIDER {
        session.enabled.insert(provider, asked.clone());
    }
    ERROR_SUCCESS
}

/// What the parameters ask for.
///
/// # Safety
/// They are null or as Windows wants them.
unsafe fn asked(parameters: *const ENABLE_TRACE_PARAMETERS) -> Result<Enabled, WIN32_ERROR> {
    // SAFETY: null or valid, as the caller promises.
    let Some(parameters) = (unsafe { parameters.as_ref() }) else {
        return Ok(Enabled::default());
    };
    let mut enabled = Enabled { properties: parameters.EnableProperty, ..Enabled::default() };
    if parameters.FilterDescCount == 0 {
        return Ok(enabled);
    }
    // SAFETY: so many descriptors are there.
    let filters =
        unsafe { slice::from_raw_parts(parameters.EnableFilterDesc, parameters.FilterDescCount as usize) };
    for filter in filters {
        // SAFETY: a descriptor of these kinds points to a list of ids.
        let ids = || unsafe { ids(filter.Ptr as *const EVENT_FILTER_EVENT_ID, filter.Size) };
        match filter.Type {
            EVENT_FILTER_TYPE_EVENT_ID => enabled.ids = Some(ids()?),
            EVENT_FILTER_TYPE_STACKWALK => enabled.stacks = Some(ids()?),
            _ => return Err(ERROR_INVALID_PARAMETER),
        }
    }
    if enabled.stacks.is_some() && enabled.properties & EVENT_ENABLE_PROPERTY_STACK_TRACE == 0 {
        return Err(ERROR_INVALID_PARAMETER);
    }
    Ok(enabled)
}

/// The ids of a filter.
///
/// # Safety
/// It points to `bytes` bytes of one.
unsafe fn ids(filter: *const EVENT_FILTER_EVENT_ID, bytes: u32) -> Result<Vec<u16>, WIN32_ERROR> {
    // SAFETY: the fields before the list are there, as the caller promises.
    let (wanted, count) = unsafe { ((*filter).FilterIn, (*filter).Count) };
    let head = std::mem::offset_of!(EVENT_FILTER_EVENT_ID, Events);
    let fits = head + usize::from(count) * 2 <= bytes as usize;
    if !wanted || count == 0 || count > IDS_MAX || !fits {
        return Err(ERROR_INVALID_PARAMETER);
    }
    // SAFETY: so many ids lie behind it, which was just checked against its size.
    Ok(unsafe { slice::from_raw_parts((&raw const (*filter).Events).cast::<u16>(), count.into()) }.to_vec())
}
