//! The trace session: started through ferrisetw, read on its own thread, and always ended.
//!
//! Windows owns the session, not the process: a session that is not ended runs on without a reader. So
//! it is ended when this value is dropped, also on a panic. A session that a killed process left behind
//! is ended by the next start: its name shows that it has no owner (`session_name`).

use super::control::{self, Status};
use super::event_record;
use super::providers::{AFD_LEGACY, LEVEL, PROVIDERS, Provider, TCPIP, stack_ids};
use super::queue::{Batch, Queue};
use super::session_error::{ALREADY_EXISTS, NO_SESSION, cannot_start, ended_by_others, number};
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
/// How often partly filled buffers are delivered: the shortest period that Windows allows.
const FLUSH: Duration = Duration::from_secs(1);
/// The longest path that ferrisetw passes on; it truncates a longer one without an error.
const PATH_MAX: usize = 200;
/// How long the reader may take for the remaining buffers of an ended session.
const READ_MAX: Duration = Duration::from_secs(5);
/// How many times larger the queue is than the session's buffers: the queue absorbs our stalls, the
/// session's buffers cannot.
const QUEUE_BUFFERS: usize = 4;

/// The options of a session.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// The total size of the session's buffers in bytes. Windows allocates at least two buffers for each
    /// processor. The queue behind them is four times as large.
    pub buffer_bytes: u32,
    /// Which events carry a stack.
    pub stacks: Stacks,
    /// Whether AFD's legacy events pass the filter too.
    pub legacy: bool,
    /// A file to which Windows writes the records too.
    pub file: Option<PathBuf>,
}

/// A running session.
#[derive(Debug)]
pub struct Session {
    name: SessionName,
    /// `None` once ended.
    trace: Option<UserTrace>,
    /// The handle for reading.
    reader: u64,
    /// Receives why reading has ended: 0 when the session has ended.
    ended: Receiver<u32>,
    queue: Arc<Queue>,
    batch: Batch,
    status: Status,
    /// What it lost, once it has ended.
    lost: Option<u64>,
    stacks_refused: Option<u32>,
}

impl Session {
    /// Starts a session. Ends one of the same name that was left behind.
    ///
    /// # Errors
    /// When Windows refuses.
    pub fn open(options: &SessionOptions) -> Result<Self, SourceError> {
        let file = options.file.as_deref().map(writable).transpose()?;
        let session_name = SessionName::reserve()?;
        let name = session_name.name.as_str();
        if control::stop(name).is_ok() {
            log::warn!("ended the trace session {name:?}, which a killed portleak had left behind");
        }
        let queue = Arc::new(Queue::new(queue_bytes(options)));
        let started =
            start(name, options, file, &queue).and_then(|(trace, reader)| match control::query(name) {
                Ok(status) => Ok((trace, reader, status)),
                Err(number) => Err(number),
            });
        let (trace, reader, status) = started.map_err(|number| {
            // ferrisetw does not end the session when a step after its start fails.
            if number != ALREADY_EXISTS {
                let _ = control::stop(name);
            }
            cannot_start(name, number)
        })?;
        let stacks = stack_ids(options.stacks);
        let stacks_refused =
            if stacks.is_empty() { None } else { status.enable_stacks(&TCPIP, stacks).err() };
        let ended = read_on_thread(reader, &queue);
        Ok(Self {
            name: session_name,
            trace: Some(trace),
            reader,
            ended,
            queue,
            batch: Batch::default(),
            status,
            lost: None,
            stacks_refused,
        })
    }
}

impl Session {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name.name
    }

    /// Passes the records that have arrived to `visit`, in order.
    ///
    /// # Errors
    /// When another program has ended the session. Its last records have been passed then.
    pub fn read(&mut self, mut visit: impl FnMut(&Record<'_>)) -> Result<(), SourceError> {
        let ended = self.ended.try_recv();
        self.queue.take(&mut self.batch);
        self.batch.records().for_each(|record| visit(&record));
        let reason = match ended {
            Err(TryRecvError::Empty) => return Ok(()),
            Ok(reason) => reason,
            Err(TryRecvError::Disconnected) => 0,
        };
        match self.trace.take() {
            None => Ok(()),
            Some(trace) => {
                self.close(trace);
                Err(ended_by_others(self.name(), reason))
            }
        }
    }

    /// Completes when records have arrived, or another program has ended the session.
    pub async fn ready(&self) {
        self.queue.ready().await;
    }

    /// How many records were dropped because the queue was full.
    pub fn dropped(&self) -> u64 {
        self.queue.dropped()
    }

    /// What Windows lost; `None` while the session runs, and when Windows does not report it.
    pub fn final_losses(&self) -> Option<u64> {
        self.lost
    }

    /// Makes Windows deliver the records in its buffers.
    pub fn flush(&self) {
        if let Err(number) = control::flush(self.name()) {
            log::debug!("the trace session cannot be flushed (error {number})");
        }
    }

    /// Requests the open connections as records (1300).
    ///
    /// # Errors
    /// An error number of winerror.h.
    pub fn capture_state(&self) -> Result<(), u32> {
        self.status.capture_state(&TCPIP)
    }

    /// Why Windows refused the requested stacks: an error number of winerror.h.
    #[must_use]
    pub fn stacks_refused(&self) -> Option<u32> {
        self.stacks_refused
    }

    /// Ends it if it runs, and waits until its last records can be [`read`](Self::read).
    pub fn stop(&mut self) {
        let Some(trace) = self.trace.take() else {
            return;
        };
        let name = &self.name.name;
        if self.ended.try_recv() == Err(TryRecvError::Empty) {
            match control::stop(name) {
                Ok(status) => self.lost = Some(status.lost()),
                Err(NO_SESSION) => {}
                Err(number) => log::warn!(
                    "the trace session {name:?} cannot be ended (error {number}); end it with: \
                     logman stop {name} -ets"
                ),
            }
            // The reader reads the remaining buffers of the ended session, and returns.
            if self.ended.recv_timeout(READ_MAX) == Err(RecvTimeoutError::Timeout) {
                log::warn!("the last records of the trace session did not arrive");
            }
        }
        self.close(trace);
    }

    /// Closes the handle for reading.
    fn close(&mut self, trace: UserTrace) {
        // SAFETY: OpenTrace returned the handle, and only this call closes it.
        unsafe { CloseTrace(PROCESSTRACE_HANDLE { Value: self.reader }) };
        // Its drop would close the reader and stop the session again, by handles that another session
        // may own by now. So its callbacks and the queue are leaked, once.
        forget(trace);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The absolute path of a file that can be written: Windows does not know our working folder.
fn writable(file: &Path) -> Result<PathBuf, SourceError> {
    let failure = |why: String| SourceError {
        what: format!("cannot write the events to {}: {why}", file.display()),
        remedy: "name a file in an existing folder, with a shorter absolute path".to_owned(),
    };
    let whole = path::absolute(file).map_err(|error| failure(error.to_string()))?;
    if whole.as_os_str().encode_wide().count() > PATH_MAX {
        return Err(failure(format!("its path is longer than {PATH_MAX} characters")));
    }
    // The error of Windows itself would not name the file.
    File::create(&whole).map_err(|error| failure(error.to_string()))?;
    Ok(whole)
}

/// Starts the session and opens it for reading. The error is a number of winerror.h.
fn start(
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
    // The session's own provider: ferrisetw passes on its events only if it is enabled. It has neither
    // keywords nor filters.
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
    let (queue, mut extended) = (Arc::clone(queue), Vec::new());
    provider::Provider::by_guid(ferrisetw::GUID { data1, data2, data3, data4 })
        .level(LEVEL)
        .any(provider.keywords)
        .trace_flags(TraceFlags::EVENT_ENABLE_PROPERTY_PROCESS_START_KEY)
        // A panic in this callback would end the process.
        .add_callback(move |event, _| queue.push(&event_record::read(event, &mut extended)))
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
    let (send, ended) = mpsc::channel();
    let queue = Arc::clone(queue);
    let handle = TraceHandle { Value: reader };
    thread::spawn(move || {
        let result = UserTrace::process_from_handle(handle);
        // The receiver is gone if the session was dropped.
        let _ = send.send(result.err().as_ref().map_or(0, error_number));
        queue.wake();
    });
    ended
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
