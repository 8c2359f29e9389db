//! The trace session: begun through ferrisetw, read on a thread of its own, and ended in any case.
//!
//! A session is Windows' and not the process's: one that is not ended runs on without a reader. So it
//! is ended when the value is dropped, on a panic as well, and one that a killed process left behind is
//! ended by the next to begin, which knows by its name that it is nobody's (`session_name`).

use super::control::{self, Status};
use super::event_record;
use super::live_source::Losses;
use super::providers::{AFD_LEGACY, LEVEL, PROVIDERS, Provider, TCPIP, stack_ids};
use super::queue::{Batch, Queue};
use super::session_error::{ALREADY_EXISTS, NO_SESSION, cannot_begin, ended_by_others, number};
use super::session_name::SessionName;
use crate::source::windows::guid;
use crate::source::windows::record::Record;
use crate::source::{SourceError, Stacks};
use ferrisetw::native::{EvntraceNativeError, TraceHandle};
use ferrisetw::provider::{self, EventFilter, TraceFlags};
use ferrisetw::trace::{DumpFileParams, LoggingMode, TraceError, TraceProperties, TraceTrait, UserTrace};
use std::fs::File;
use std::mem::forget;
use std::os::windows::ffi::OsStrExt;
use std::path::{self, Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, TryRecvError};
use std::thread;
use std::time::Duration;
use windows_sys::Win32::System::Diagnostics::Etw::{CloseTrace, PROCESSTRACE_HANDLE};

/// The size of a buffer of the session, in KB.
const BUFFER_KB: u32 = 64;
/// How often buffers that are not full are delivered: the shortest that Windows has.
const FLUSH: Duration = Duration::from_secs(1);
/// The longest path that ferrisetw hands on; what is longer it cuts, and says nothing.
const PATH_MAX: usize = 200;
/// How long the reader may take to read what a session that was ended had written.
const READ_MAX: Duration = Duration::from_secs(5);
/// How much larger the queue is than the session's buffers: it bears with our pauses, they do not.
const QUEUE_BUFFERS: usize = 4;

/// What a session is to be like.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// The size of the session's buffers together, in bytes. Windows takes two for each processor at
    /// least. The queue behind it takes four times as much.
    pub buffer_bytes: u32,
    /// Of whose events the stack is taken.
    pub stacks: Stacks,
    /// Whether AFD's events of old are let through as well.
    pub legacy: bool,
    /// A file that Windows writes the records to as well.
    pub file: Option<PathBuf>,
}

/// A session that runs.
#[derive(Debug)]
pub struct Session {
    slot: SessionName,
    /// `None` once ended.
    trace: Option<UserTrace>,
    /// Its handle for reading.
    reader: u64,
    /// Says when reading is over, and why: 0 when the session has ended.
    over: Receiver<u32>,
    queue: Arc<Queue>,
    batch: Batch,
    status: Status,
    /// The session's losses when it was asked last.
    lost: Option<u64>,
    stacks_refused: Option<u32>,
}

impl Session {
    /// Begins a session, ending one that was left behind.
    ///
    /// # Errors
    /// When Windows refuses.
    pub fn open(options: &SessionOptions) -> Result<Self, SourceError> {
        let file = options.file.as_deref().map(writable).transpose()?;
        let slot = SessionName::take()?;
        let name = slot.name.as_str();
        if control::stop(name).is_ok() {
            log::warn!("the trace session {name:?} had been left behind, and was ended");
        }
        let queue = Arc::new(Queue::new(queue_bytes(options)));
        let begun =
            begin(name, options, file, &queue).and_then(|(trace, reader)| match control::query(name) {
                Ok(status) => Ok((trace, reader, status)),
                Err(number) => Err(number),
            });
        let (trace, reader, status) = begun.map_err(|number| {
            // ferrisetw leaves the session behind when a later step than its start fails.
            if number != ALREADY_EXISTS {
                let _ = control::stop(name);
            }
            cannot_begin(name, number)
        })?;
        let stacks = stack_ids(options.stacks);
        let stacks_refused =
            if stacks.is_empty() { None } else { status.enable_stacks(&TCPIP, stacks).err() };
        let over = read_on_thread(reader, &queue);
        Ok(Self {
            slot,
            trace: Some(trace),
            reader,
            over,
            queue,
            batch: Batch::default(),
            status,
            lost: Some(0),
            stacks_refused,
        })
    }
}

impl Session {
    /// Hands over the records that have come in, in their order.
    ///
    /// # Errors
    /// When somebody else has ended the session; what it had written was handed over.
    pub fn take(&mut self, mut visit: impl FnMut(&Record<'_>)) -> Result<(), SourceError> {
        let over = self.over.try_recv();
        self.queue.take(&mut self.batch);
        self.batch.records().for_each(|record| visit(&record));
        let reason = match over {
            Err(TryRecvError::Empty) => return Ok(()),
            Ok(reason) => reason,
            Err(TryRecvError::Disconnected) => 0,
        };
        match self.trace.take() {
            None => Ok(()),
            Some(trace) => {
                self.close(trace);
                Err(ended_by_others(&self.slot.name, reason))
            }
        }
    }

    /// Completes when records have come in, or somebody else has ended the session.
    pub async fn ready(&self) {
        self.queue.ready().await;
    }

    /// What was lost since it began.
    pub fn lost(&mut self) -> Losses {
        if self.trace.is_some() {
            self.lost = control::query(&self.slot.name).ok().map(|status| status.lost());
        }
        Losses { etw: self.lost, queue: self.queue.dropped() }
    }

    /// Has Windows deliver the records that it holds.
    pub fn flush(&self) {
        if let Err(number) = control::flush(&self.slot.name) {
            log::debug!("the trace session cannot be flushed (error {number})");
        }
    }

    /// Asks for the connections that are there, as records (1300).
    ///
    /// # Errors
    /// The number of winerror.h.
    pub fn capture_state(&self) -> Result<(), u32> {
        self.status.capture_state(&TCPIP)
    }

    /// Why no stacks are taken although they were asked for: a number of winerror.h.
    #[must_use]
    pub fn stacks_refused(&self) -> Option<u32> {
        self.stacks_refused
    }

    /// Ends it, if it runs, and waits until what it had written is there to [`take`](Self::take).
    pub fn stop(&mut self) {
        let Some(trace) = self.trace.take() else {
            return;
        };
        let name = &self.slot.name;
        if self.over.try_recv() == Err(TryRecvError::Empty) {
            match control::stop(name) {
                Ok(status) => self.lost = Some(status.lost()),
                Err(NO_SESSION) => {}
                Err(number) => log::warn!(
                    "the trace session {name:?} cannot be ended (error {number}); end it with: \
                     logman stop {name} -ets"
                ),
            }
            // Once its session has ended, the reader reads what is left, and returns.
            if self.over.recv_timeout(READ_MAX) == Err(RecvTimeoutError::Timeout) {
                log::warn!("the last records of the trace session did not come");
            }
        }
        self.close(trace);
    }

    /// Ends reading.
    fn close(&mut self, trace: UserTrace) {
        // SAFETY: the handle is of OpenTrace and is closed here alone.
        unsafe { CloseTrace(PROCESSTRACE_HANDLE { Value: self.reader }) };
        // Dropped, it would close the reader and stop the session once more, by numbers that another
        // session may have by now. Its callbacks and this value's queue stay behind, once.
        forget(trace);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A file that Windows can write to, by its whole path: Windows does not know our folder.
fn writable(file: &Path) -> Result<PathBuf, SourceError> {
    let refused = |why: String| SourceError {
        what: format!("cannot keep the events in {}: {why}", file.display()),
        remedy: "name a file in a folder that is there, whose whole path is not long".to_owned(),
    };
    let whole = path::absolute(file).map_err(|error| refused(error.to_string()))?;
    if whole.as_os_str().encode_wide().count() > PATH_MAX {
        return Err(refused(format!("its path is longer than {PATH_MAX} characters")));
    }
    // Windows would say only that something is denied.
    File::create(&whole).map_err(|error| refused(error.to_string()))?;
    Ok(whole)
}

/// Begins the session and opens it for reading. The error is a number of winerror.h.
fn begin(
    name: &str,
    options: &SessionOptions,
    file: Option<PathBuf>,
    queue: &Arc<Queue>,
) -> Result<(UserTrace, u64), u32> {
    let mut trace = UserTrace::new().named(name.to_owned()).set_trace_properties(properties(options));
    for provider in &PROVIDERS {
        let mut ids = provider.ids();
        if options.legacy && provider.guid == guid::AFD {
            ids.extend(AFD_LEGACY);
        }
        let ids = EventFilter::ByEventIds(ids);
        trace = trace.enable(enabled(provider, queue).add_filter(ids).build());
    }
    // The session's own: without it, ferrisetw keeps them from us. It takes neither keywords nor filters.
    let lost = Provider { guid: guid::LOST_EVENT, name: "lost events", keywords: 0 };
    trace = trace.enable(enabled(&lost, queue).build());
    if let Some(file_path) = file {
        trace = trace.set_etl_dump_file(DumpFileParams { file_path, ..Default::default() });
    }
    let (trace, reader) = trace.start().map_err(|error| error_number(&error))?;
    Ok((trace, reader.Value))
}

fn enabled(provider: &Provider, queue: &Arc<Queue>) -> provider::ProviderBuilder {
    let windows_sys::core::GUID { data1, data2, data3, data4 } = control::windows_guid(provider.guid);
    let (queue, mut chain) = (Arc::clone(queue), Vec::new());
    provider::Provider::by_guid(ferrisetw::GUID { data1, data2, data3, data4 })
        .level(LEVEL)
        .any(provider.keywords)
        .trace_flags(TraceFlags::EVENT_ENABLE_PROPERTY_PROCESS_START_KEY)
        // A panic in here would end the process.
        .add_callback(move |event, _| queue.push(&event_record::read(event, &mut chain)))
}

fn properties(options: &SessionOptions) -> TraceProperties {
    let buffers = options.buffer_bytes.div_ceil(BUFFER_KB * 1024).max(2);
    TraceProperties {
        buffer_size: BUFFER_KB,
        min_buffer: buffers.div_ceil(2),
        max_buffer: buffers,
        flush_timer: FLUSH,
        log_file_mode: LoggingMode::EVENT_TRACE_REAL_TIME_MODE,
    }
}

fn queue_bytes(options: &SessionOptions) -> usize {
    usize::try_from(options.buffer_bytes).unwrap_or(usize::MAX).saturating_mul(QUEUE_BUFFERS).max(1 << 20)
}

/// Reads the session until it ends.
fn read_on_thread(reader: u64, queue: &Arc<Queue>) -> Receiver<u32> {
    let (say, over) = mpsc::channel();
    let queue = Arc::clone(queue);
    let handle = TraceHandle { Value: reader };
    thread::spawn(move || {
        let ended = UserTrace::process_from_handle(handle);
        // Nobody listens any more if the session was dropped.
        let _ = say.send(ended.err().as_ref().map_or(0, error_number));
        queue.wake();
    });
    over
}

fn error_number(error: &TraceError) -> u32 {
    /// `ERROR_INVALID_HANDLE`.
    const INVALID_HANDLE: u32 = 6;
    /// `ERROR_INVALID_NAME`.
    const INVALID_NAME: u32 = 123;
    match error {
        TraceError::InvalidTraceName => INVALID_NAME,
        TraceError::EtwNativeError(EvntraceNativeError::InvalidHandle) => INVALID_HANDLE,
        TraceError::EtwNativeError(EvntraceNativeError::AlreadyExist) => ALREADY_EXISTS,
        TraceError::EtwNativeError(EvntraceNativeError::IoError(error)) => {
            error.raw_os_error().map_or(INVALID_HANDLE, number)
        }
    }
}
